"""What the package sae-lens makes of files; tests that ask it are skipped where it is not installed."""

import pytest

from tests.saes.formats.layouts import D_IN, D_SAE

theirs = pytest.importorskip("sae_lens")
loaders = pytest.importorskip("sae_lens.loading.pretrained_sae_loaders")
registry = pytest.importorskip("sae_lens.registry")


def from_disk(folder, dtype=None, **options):
    name = None if dtype is None else str(dtype).removeprefix("torch.")
    return theirs.SAE.load_from_disk(folder, dtype=name, **options)


def opened(loader, folder_name, dtype, monkeypatch, source, repository="o/gemma-scope-2b-pt-res"):
    """What the package makes of a repository that lies in a local folder."""

    def local(_=None, filename=None, subfolder="", **__):
        return str(source / subfolder / filename)

    monkeypatch.setattr(loaders, "hf_hub_download", local)
    overrides = {"dtype": str(dtype).removeprefix("torch."), "device": "cpu"}
    config, state, _ = loader(repository, folder_name, "cpu", False, overrides)
    sizes = {"d_in": D_IN, "d_sae": D_SAE, **({"d_out": D_IN} if "d_out" in config else {})}
    config = loaders.handle_config_defaulting({"device": "cpu", **config, **sizes})
    kind, config_kind = registry.get_sae_class(config["architecture"])
    sae = kind(config_kind.from_dict(config))
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()})
    return sae.to(dtype=dtype)
