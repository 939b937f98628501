"""What JetPack shows of a Jetson: its power monitors, alerts, power mode and graphics processor."""

from __future__ import annotations

from functools import partial

from edgeloop_profiles.profile import Profile, Sensor

from edgeloop_agent.simulate.files.power import ina3221_chip, power_of
from edgeloop_agent.simulate.files.text import Files, constant, number, required
from edgeloop_agent.simulate.state import BoardState

__all__ = ["devfreq", "devfreq_load", "jetson_power", "jetson_throttle", "nvpmodel", "overcurrent"]

_RELEASE = "etc/nv_tegra_release"
_MILLI = 1e3
_BATCH_LOAD = "0\n"
"""The model knows no work on the graphics processor."""


def jetson_power(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the INA3221 at the declared path: an iio device of JetPack 4, or a hwmon chip of JetPack 5 and 6."""
    directory = required(profile, sensor, "path", sensor.path)
    files: Files = {_RELEASE: constant(f"# {profile.operating_system.name}\n")}
    if "/iio:device" not in directory:
        return {**files, **ina3221_chip(profile, sensor, state, directory)}
    for index, channel in enumerate(sensor.channels):
        files[f"{directory}/rail_name_{index}"] = constant(f"{channel}\n")
        files[f"{directory}/in_power{index}_input"] = number(
            power_of(state, sensor, index), _MILLI, (sensor.resolution or 1e-3) * _MILLI
        )
    return files


def jetson_throttle(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return counter and state of the alerts that the channels "<alert>/events" name."""
    files: Files = {}
    alerts = dict.fromkeys(channel.partition("/")[0].removesuffix("_now") for channel in sensor.channels)
    for index, alert in enumerate(alerts):
        files[f"sys/devices/platform/{alert}/thermal_trip_event"] = number(partial(_throttles, state), 1.0)
        files[f"sys/class/thermal/cooling_device{index}/type"] = constant(f"{alert}\n")
        files[f"sys/class/thermal/cooling_device{index}/cur_state"] = number(partial(_throttled, state), 1.0)
    return files


def overcurrent(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the counters of the channels "oc1" and so on; the first counts falls of the supply voltage."""
    directory = sensor.path or "sys/class/hwmon/hwmon2"
    files: Files = {f"{directory}/name": constant("soctherm_oc\n")}
    for channel in sensor.channels:
        counter = number(partial(_falls, state), 1.0) if channel == "oc1" else constant("0\n")
        files[f"{directory}/{channel}_event_cnt"] = counter
    return files


def nvpmodel(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the mode that ``text`` gives as "<number> <name>": as files, or as what the declared command prints."""
    mode, _, name = required(profile, sensor, "text", sensor.text).partition(" ")
    if sensor.path.startswith("commands/"):
        return {sensor.path: constant(f"NV Power Mode: {name}\n{mode}\n")}
    return {
        "var/lib/nvpmodel/status": constant(f"pmode:{int(mode):04d}\n"),
        "etc/nvpmodel.conf": constant(f"< POWER_MODEL ID={int(mode)} NAME={name} >\n"),
    }


def devfreq(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the clock of the graphics processor at the declared path: held at ``minimum_hz``, for it idles."""
    directory = required(profile, sensor, "path", sensor.path)
    clock = required(profile, sensor, "minimum_hz", sensor.minimum_hz)
    node = sensor.channels[0].partition("/")[0]
    files: Files = {f"{directory}/device/of_node/name": constant(f"{node}\0")}
    for file in ("cur_freq", "min_freq", "max_freq"):
        files[f"{directory}/{file}"] = constant(f"{round(clock)}\n")
    return files


def devfreq_load(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the load of the graphics processor at the declared path: none."""
    return {f"{required(profile, sensor, 'path', sensor.path)}/device/load": constant(_BATCH_LOAD)}


def _throttles(state: BoardState) -> float:
    return float(state.throttle_count)


def _throttled(state: BoardState) -> float:
    return float(state.throttled)


def _falls(state: BoardState) -> float:
    return float(state.under_voltage_count)
