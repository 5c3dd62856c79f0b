"""A model hub on loopback that answers as tfhub.dev does, with tiny models of the same signatures.

By hand (docs/models.md):

    python -m tests.support.hub_server --port 8123

A handle's address gives a web page; with `?tf-hub-format=compressed` it redirects to a tar.gz of the SavedModel. In
tests any of its addresses can be made to misbehave (`support.fault_server`), and it remembers what it was asked.
"""

import argparse
import tempfile
import threading
from pathlib import Path

from .fault_server import Fault, FaultServer, Handler
from .hub_models import packed, save_detector, save_feature_vector

EXTRACTOR = "/google/imagenet/mobilenet_v2_140_224/feature_vector/4"
DETECTOR = "/google/faster_rcnn/openimages_v4/inception_resnet_v2/1"


class HubServer(FaultServer):
    """A `FaultServer` for models."""

    def publish(self, path: str, archive: bytes) -> str:
        """Offer an archive as a model; gives its handle."""
        stored = self.stored(path)
        assert self.pictures is not None
        self.pictures[stored] = archive

        def module(handler: Handler) -> None:
            if "tf-hub-format=compressed" in handler.path:
                handler.reply(302, b"", {"Location": stored})
            else:
                handler.reply(200, b"<!DOCTYPE html><html>About this model</html>", {"Content-Type": "text/html"})

        self.fail(path, Fault(module))
        return self.url(path)

    @staticmethod
    def stored(path: str) -> str:
        """Where the archive of a model lies."""
        return f"/storage{path}.tar.gz"


def tiny_models(folder: Path) -> dict[str, bytes]:
    """The extractor's and the detector's archives, by the paths that their handles have on the hub."""
    save_feature_vector(folder / "extractor")
    save_detector(folder / "detector")
    return {EXTRACTOR: packed(folder / "extractor"), DETECTOR: packed(folder / "detector")}


def main() -> None:
    """Serve both models until interrupted."""
    parser = argparse.ArgumentParser(description="A model hub with two tiny models")
    parser.add_argument("--port", type=int, default=8123)
    port = parser.parse_args().port
    with tempfile.TemporaryDirectory() as folder:
        models = tiny_models(Path(folder))
    with HubServer(port=port) as server:
        for path, archive in models.items():
            print(server.publish(path, archive), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
