"""A server that speaks as much of W&B's API as an upload needs, and notes which files it is sent."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.serving import serving

_MANIFEST = {"id": "m", "file": {"id": "f", "name": "n", "displayName": "n", "uploadHeaders": []}}


def answer(name: str, given: dict, upload: str) -> dict:
    """What W&B says to a question of GraphQL; nothing to those that an upload does without."""
    if name == "UpsertBucket":
        project = {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}
        bucket = {"id": "b", "name": given.get("name") or "r", "displayName": "r", "project": project}
        return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0}, "inserted": True}}
    if name == "CreateRunFiles":
        files = [{"name": file, "uploadUrl": f"{upload}/run/{file}"} for file in given["files"]]
        return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
    if name == "CreateArtifact":
        artifact = {"id": "a", "state": "PENDING", "artifactSequence": {"id": "s", "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}
    if name == "CreateArtifactManifest":
        made = {**_MANIFEST, "file": {**_MANIFEST["file"], "uploadUrl": f"{upload}/manifest"}}
        return {"createArtifactManifest": {"artifactManifest": made}}
    if name == "CreateArtifactFiles":
        nodes = [
            {"id": "f", "name": file["name"], "displayName": file["name"], "uploadHeaders": [], "artifact": {"id": "a"}}
            | {"uploadUrl": f"{upload}/artifact/{file['name']}", "storagePath": file["name"]}
            for file in given["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
    plain = {
        "CommitArtifact": {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}},
        "ServerFeaturesQuery": {"serverInfo": {"features": []}},
    }
    return plain.get(name, {})


@contextmanager
def wandb_server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its address, and what it was sent: files of runs are below `run/`, of artifacts below `artifact/`."""
    received: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_PUT(self) -> None:
            received[self.path.removeprefix("/upload/")] = self._body()
            self._say({})

        def do_POST(self) -> None:
            body = self._body()
            if "graphql" not in self.path:
                return self._say({})
            asked = json.loads(gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body)
            name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            upload = f"http://{self.headers['Host']}/upload"
            return self._say({"data": answer(name[1] if name else "", asked.get("variables") or {}, upload)})

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            whole = b""
            while length := int(self.rfile.readline(), 16):
                whole += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return whole

        def _say(self, what: dict) -> None:
            body = json.dumps(what).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as address:
        yield address, received
