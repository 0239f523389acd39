"""Folders as the kernels of boards show them below /sys and /proc, laid out as their documentation says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def made(root: Path, files: Mapping[str, object]) -> Path:
    """Write files below a root, a line each, as sysfs does."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


def below(folder: str, files: Mapping[str, object]) -> dict[str, object]:
    """The names of files in a folder."""
    return {f"{folder}/{name}": content for name, content in files.items()}


def hwmon(number: int, files: Mapping[str, object]) -> dict[str, object]:
    """A device of hwmon."""
    return below(f"sys/class/hwmon/hwmon{number}", files)


INA226 = hwmon(
    3,
    {"name": "ina226", "in0_input": 2, "in1_input": 5000, "curr1_input": 800, "power1_input": 4_000_000}
    | {"shunt_resistor": 2000, "update_interval": 10},
)
"""Documentation/hwmon/ina2xx.rst: the bus at 5 V and 0.8 A."""

INA226_POWER = "sys/class/hwmon/hwmon3/power1_input"

JETSON_ORIN = {"proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit"} | hwmon(
    1,
    {"name": "ina3221", "update_interval": 10}
    | {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 1400, "shunt1_resistor": 5000}
    | {"in2_label": "VDD_CPU_GPU_CV", "in2_input": 5000, "curr2_input": 600, "shunt2_resistor": 5000}
    | {"in3_label": "VDD_SOC", "in3_input": 5000, "curr3_input": 300, "shunt3_resistor": 5000},
)
"""Jetson Linux Developer Guide, Orin Nano: 7 W at the input, of which two rails take 4.5 W."""

JETSON_NANO = {"proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit"} | below(
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0",
    {"rail_name_0": "POM_5V_IN", "in_power0_input": 2500}
    | {"rail_name_1": "POM_5V_GPU", "in_power1_input": 100, "rail_name_2": "POM_5V_CPU", "in_power2_input": 900},
)
"""The same guide of Jetson Linux 32: mW."""

BATTERY = below(
    "sys/class/power_supply/BAT0",
    {"type": "Battery", "status": "Discharging", "voltage_now": 3_800_000, "current_now": -500_000},
) | below("sys/class/power_supply/AC", {"type": "Mains", "online": 0})
"""Documentation/ABI/testing/sysfs-class-power: 3.8 V and 0.5 A that flow out of it, 1.9 W."""


def rapl(energy_uj: int = 1000, dram_uj: int = 500, range_uj: int = 262_143_328_850) -> dict[str, object]:
    """Documentation/power/powercap/powercap.rst: a package, the cores in it, and its memory."""
    zones = {"": ("package-0", energy_uj), ":0": ("core", energy_uj // 2), ":1": ("dram", dram_uj)}
    return {
        name: content
        for zone, (called, energy) in zones.items()
        for name, content in below(
            f"sys/class/powercap/intel-rapl:0{zone}",
            {"name": called, "energy_uj": energy, "max_energy_range_uj": range_uj},
        ).items()
    }


STATE = {
    "sys/class/thermal/thermal_zone0/temp": 48312,
    "sys/class/thermal/thermal_zone1/temp": 51000,
    "sys/class/thermal/thermal_zone2/temp": -274000,
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 600_000,
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand",
    "sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq": 1_800_000,
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0x50005",
}
"""A Raspberry Pi 4 with too thin a cable: 51 C, a sensor that is broken, throttled and undervoltage now and before."""
