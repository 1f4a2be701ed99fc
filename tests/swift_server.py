"""OpenStack Swift with its S3 interface, one replica of everything, in one process: `python swift_server.py FOLDER`.

Prints the port of the S3 interface on loopback once it serves. User `test:tester`, key `testing`.
"""

import sys
from pathlib import Path

import eventlet

eventlet.monkey_patch()

from eventlet import wsgi  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.storage_policy import reload_storage_policies  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

_BACKEND = """[DEFAULT]
devices = {folder}/devices
mount_check = false
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
log_address = {folder}/nolog
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """[DEFAULT]
swift_dir = {folder}
log_address = {folder}/nolog
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth bulk slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
check_bucket_owner = false
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
"""


class _Silent:
    def write(self, text: str) -> None:
        pass

    info = debug = write


def _serve(listener: object, configuration: Path) -> None:
    app = loadapp(str(configuration))
    eventlet.spawn(wsgi.server, listener, app, log=_Silent(), debug=False)


def main(folder: Path) -> None:
    """Configure and serve until killed."""
    (folder / "devices" / "d1").mkdir(parents=True)
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n")
    utils.set_swift_dir(str(folder))
    reload_storage_policies()
    listeners = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in ("account", "container", "object", "proxy")}
    for kind, listener in listeners.items():
        port = listener.getsockname()[1]
        path = folder / f"{kind}.conf"
        if kind == "proxy":
            path.write_text(_PROXY.format(folder=folder))
            continue
        path.write_text(_BACKEND.format(folder=folder, kind=kind, port=port))
        builder = RingBuilder(1, 1, 0)
        builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1.0})
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{kind}.ring.gz"))
    for kind, listener in listeners.items():
        _serve(listener, folder / f"{kind}.conf")
    print(listeners["proxy"].getsockname()[1], flush=True)
    eventlet.sleep(1e6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
