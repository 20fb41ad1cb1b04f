import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator

from sae_match.commands.trainer import JobLauncher, open_trainer
from sae_match.errors import UserError
from sae_match.settings.schema import TrainerSettings

QUIET = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}


def environment(**settings):
    trainer = open_trainer(TrainerSettings(accelerator="cpu", **settings), **QUIET)
    return trainer._accelerator_connector.cluster_environment


@pytest.fixture
def slurm(monkeypatch):
    """Be the shell of a Slurm job, or one of the tasks that `srun` has started in it."""

    def job(*, tasks, by_srun=False, **more):
        told = {"NTASKS": tasks, "JOB_NAME": "batch", "PROCID": 0, "LOCALID": 0, "NODEID": 0, "NODELIST": "localhost"}
        told |= {"STEP_NUM_TASKS": tasks} if by_srun else {}
        monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
        for name, value in {**told, "JOB_ID": 77, "JOB_NODELIST": "localhost", **more}.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))

    return job


@pytest.mark.parametrize("settings", [{}, {"strategy": "ddp", "devices": 2}])
@pytest.mark.parametrize("tasks", [1, 4])
def test_in_a_slurm_job_a_program_without_srun_starts_its_processes_itself(slurm, tasks, settings):
    slurm(tasks=tasks, NTASKS_PER_NODE=tasks)
    assert isinstance(environment(**settings), LightningEnvironment)


def test_tasks_of_srun_are_the_processes_and_write_no_checkpoint_at_a_signal(slurm):
    slurm(tasks=2, by_srun=True, NTASKS_PER_NODE=2)
    found = environment(strategy="ddp", devices=2)
    assert isinstance(found, SLURMEnvironment)
    assert not found.auto_requeue


def test_tasks_of_srun_that_would_all_do_the_same_are_refused(slurm):
    slurm(tasks=4, by_srun=True)
    with pytest.raises(UserError, match=r"srun has started 4 tasks.*srun --ntasks=1, or trainer=ddp"):
        environment()


def test_another_number_of_tasks_than_of_devices_is_one_line(slurm):
    slurm(tasks=4, by_srun=True, NTASKS_PER_NODE=4)
    with pytest.raises(UserError, match=r"srun has started 4 tasks for 2 processes: set trainer.devices=4"):
        environment(strategy="ddp", devices=2)


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_processes_that_would_have_to_be_told_all_that_was_opened_are_refused(strategy):
    with pytest.raises(UserError, match=f"trainer.strategy={strategy} is not supported: take ddp"):
        TrainerSettings(strategy=strategy)


@pytest.mark.parametrize("devices", [0, "many", -3])
def test_devices_that_there_cannot_be_are_refused_in_one_line(devices):
    with pytest.raises(UserError, match=r"^trainer settings: .*device") as refused:
        open_trainer(TrainerSettings(accelerator="cpu", devices=devices), **QUIET)
    assert "\n" not in str(refused.value)


def test_more_gpus_than_there_are_is_one_line(monkeypatch):
    monkeypatch.setattr(CUDAAccelerator, "is_available", lambda: True)
    monkeypatch.setattr(CUDAAccelerator, "auto_device_count", lambda: 1)
    monkeypatch.setattr("lightning.fabric.utilities.device_parser._get_all_available_gpus", lambda **_: [0])
    with pytest.raises(UserError, match=r"^trainer settings: .*[Rr]equested gpu: \[0, 1, 2\].* only has: \[0\]"):
        open_trainer(TrainerSettings(accelerator="cuda", devices=3), **QUIET)


@pytest.fixture
def machine(monkeypatch):
    """Be one on which Lightning says that there are these accelerators."""

    def there_is(*, cuda, mps):
        for accelerator, there in ((CUDAAccelerator, cuda), (MPSAccelerator, mps)):
            monkeypatch.setattr(accelerator, "is_available", lambda there=there: there)
            monkeypatch.setattr(accelerator, "auto_device_count", lambda there=there: int(there))
        # What finds the devices' numbers asks torch.
        monkeypatch.setattr("lightning.fabric.utilities.device_parser._get_all_available_gpus", lambda **_: [0])

    return there_is


def said(caplog):
    return [one.message for one in caplog.records if one.name.startswith("sae_match")]


# Lightning recommends it.
@pytest.mark.filterwarnings("ignore:GPU available but not used")
def test_a_gpu_without_float64_is_not_taken_by_itself_which_is_said(machine, caplog):
    machine(cuda=False, mps=True)
    trainer = open_trainer(TrainerSettings(), **QUIET)
    assert isinstance(trainer.accelerator, CPUAccelerator)
    assert said(caplog) == [
        "trainer.accelerator=auto takes the CPU: Apple's GPUs (mps) have no float64, which sums need"
    ]


@pytest.mark.parametrize("name", ["gpu", "mps"])
def test_a_gpu_without_float64_that_is_asked_for_is_one_line(machine, name):
    machine(cuda=False, mps=True)
    with pytest.raises(UserError, match=f"^trainer.accelerator={name}: .* have no float64.*; take cpu, or auto$"):
        open_trainer(TrainerSettings(accelerator=name), **QUIET)


def test_a_gpu_with_float64_is_taken_and_nothing_said(machine, caplog):
    machine(cuda=True, mps=False)
    assert isinstance(open_trainer(TrainerSettings(accelerator="gpu"), **QUIET).accelerator, CUDAAccelerator)
    assert said(caplog) == []


def test_a_profiler_writes_into_the_folder_of_the_run(tmp_path):
    trainer = open_trainer(TrainerSettings(accelerator="cpu", profiler="simple"), folder=tmp_path, **QUIET)
    assert trainer.profiler.dirpath == tmp_path
    with pytest.raises(UserError, match=r"trainer.profiler=stopwatch: there are simple, advanced, pytorch"):
        open_trainer(TrainerSettings(accelerator="cpu", profiler="stopwatch"), folder=tmp_path, **QUIET)


def test_machines_and_devices_make_the_number_of_processes():
    trainer = open_trainer(TrainerSettings(accelerator="cpu", strategy="ddp", devices=3, num_nodes=2), **QUIET)
    assert trainer.world_size == 6


def test_a_job_starts_its_processes_by_what_it_was_told():
    settings = TrainerSettings(accelerator="cpu", strategy="ddp", devices=2)
    launcher = open_trainer(settings, ("validate", settings), **QUIET).strategy.launcher
    assert isinstance(launcher, JobLauncher)
    assert (launcher.program, launcher.settings, launcher.num_processes) == ("validate", settings, 2)
    # Elsewhere Lightning does.
    assert not isinstance(open_trainer(settings, **QUIET).strategy.launcher, JobLauncher)
