# Says what a board is, one "key=value" a line. Needs sh only; changes nothing.
LC_ALL=C; export LC_ALL
say() { printf '%s=%s\n' "$1" "$2"; }
say kernel "$(uname -s)"
say architecture "$(uname -m)"
say bits "$(getconf LONG_BIT 2>/dev/null)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | head -n 1)"
say os "$(. /etc/os-release 2>/dev/null && printf '%s' "$PRETTY_NAME")"
say os_family "$(. /etc/os-release 2>/dev/null && printf '%s' "$ID $ID_LIKE")"
say model "$(cat /proc/device-tree/model 2>/dev/null | tr -d '\000')"
say tegra "$(head -n 1 /etc/nv_tegra_release 2>/dev/null)"
say memory_kib "$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo 2>/dev/null)"
say memory_cgroup "$(if grep -qs memory /sys/fs/cgroup/cgroup.controllers || [ -d /sys/fs/cgroup/memory ]; then echo yes; else echo no; fi)"
say user "$(id -un)"
say uid "$(id -u)"
say home "$HOME"
say sha256sum "$(command -v sha256sum)"
for place in "$HOME" /opt /var/lib; do
  say "free_kib:$place" "$(df -Pk "$place" 2>/dev/null | sed -n '2s/  */ /gp' | cut -d' ' -f4)"
done
say systemd "$(if [ -d /run/systemd/system ]; then systemctl is-system-running 2>/dev/null || true; else echo none; fi | head -n 1)"
: "${XDG_RUNTIME_DIR:=/run/user/$(id -u)}"; export XDG_RUNTIME_DIR
say systemd_user "$(if [ -S "$XDG_RUNTIME_DIR/systemd/private" ] && systemctl --user show-environment >/dev/null 2>&1; then echo yes; else echo no; fi)"
say linger "$(if [ -e "/var/lib/systemd/linger/$(id -un)" ]; then echo yes; else echo no; fi)"
say sudo "$(if command -v sudo >/dev/null 2>&1; then if sudo -n true >/dev/null 2>&1; then echo yes; else echo password; fi; else echo none; fi)"
# The system's own first: one below a home directory is out of reach for a service that cannot see homes.
for name in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
  path=$(command -v "$name" 2>/dev/null) || continue
  say python "$("$path" -I -c '
import sys
def there(name):
    try:
        if sys.version_info < (3, 4):
            return False
        from importlib.util import find_spec
        return find_spec(name) is not None
    except Exception:
        return False
print("%s|%d.%d.%d|%s|%s" % (sys.executable, sys.version_info[0], sys.version_info[1], sys.version_info[2],
    "64" if sys.maxsize > 2**32 else "32",
    ",".join(n for n in ("venv", "zlib", "tensorrt", "onnxruntime", "tflite_runtime", "torch", "openvino") if there(n))))
' 2>/dev/null)"
done
installed() { # ROOT
  for link in current previous; do
    say "$link:$1" "$(readlink "$1/agent/$link" 2>/dev/null)"
  done
}
installed "$HOME/.local/share/edgeloop"
installed /opt/edgeloop
