"""What the extension keeps in .blend files: settings of the scene, and what a Volume datablock shows."""

from __future__ import annotations

from typing import Any

import bpy

from .declared import declared, props

PRESET_ITEMS = (
    ("draft", "Draft", "A first look within seconds"),
    ("standard", "Standard", "Good quality within a minute or a few"),
    ("high", "High", "The finest voxels; takes longest and needs most memory"),
)
DEVICE_ITEMS = (
    ("auto", "Automatic", "A CUDA device if the backend finds one, else the CPU"),
    ("cpu", "CPU", "Train on the CPU"),
    ("cuda", "CUDA", "Train on an NVIDIA GPU"),
)
COMPOSITING_ITEMS = (
    (
        "linear",
        "Linear",
        "Composite light: the photos' colours under the Standard view transform, beside other objects",
    ),
    ("encoded", "Encoded", "Composite encoded values as published: exact under the Raw view transform only"),
)

RELATIVE_PATH = {"PATH_SUPPORTS_BLEND_RELATIVE"}
"""Every reader resolves `//` by bpy.path.abspath."""


def training_properties() -> dict[str, Any]:
    """The options of one run: once for the scene, once for the operator."""
    return {
        "dataset": props.StringProperty(
            name="Dataset",
            description="Folder of photos with transforms_train.json (NeRF-synthetic layout)",
            subtype="DIR_PATH",
            options=RELATIVE_PATH,
        ),
        "preset": props.EnumProperty(
            name="Preset", description="Quality against time", items=PRESET_ITEMS, default="standard"
        ),
        "max_seconds": props.FloatProperty(
            name="Time Limit",
            description="Seconds of training; 0 leaves it to the preset",
            min=0.0,
            soft_max=3600.0,
            max=1e6,
            default=0.0,
            step=1000,
            precision=0,
            unit="TIME_ABSOLUTE",
        ),
        "downscale": props.IntProperty(
            name="Downscale", description="Reduce the photos by this factor first", min=1, max=64, default=1
        ),
        "device": props.EnumProperty(name="Device", description="Where to train", items=DEVICE_ITEMS, default="auto"),
        "compositing": props.EnumProperty(
            name="Compositing",
            description="How samples along a ray become a pixel",
            items=COMPOSITING_ITEMS,
            default="linear",
        ),
        "levels": props.IntProperty(
            name="Levels of Detail",
            description="Levels of detail to export; 0 leaves it to the backend",
            min=0,
            max=8,
            default=0,
        ),
        "threads": props.IntProperty(
            name="Threads", description="CPU threads of the trainer; 0 uses all", min=0, max=1024, default=0
        ),
        "settings": props.StringProperty(
            name="Settings", description="Single settings of the trainer: name=value, with spaces between them"
        ),
    }


@declared(
    **training_properties(),
    output=props.StringProperty(
        name="Output",
        description="Folder that takes the jobs, one new folder each; empty: the extension's own folder",
        subtype="DIR_PATH",
        options=RELATIVE_PATH,
    ),
    job_folder=props.StringProperty(name="Job", description="Folder of this scene's training job", subtype="DIR_PATH"),
)
class SceneSettings(bpy.types.PropertyGroup):
    """`scene.plenovdb`"""

    dataset: str
    preset: str
    max_seconds: float
    downscale: int
    device: str
    compositing: str
    levels: int
    threads: int
    settings: str
    output: str
    job_folder: str


@declared(
    number=props.IntProperty(name="Level", description="0 is the finest"),
    file_name=props.StringProperty(name="File", description="Name of the level's file, beside the volume's file"),
    resolution=props.IntVectorProperty(name="Resolution", description="Voxels along each axis", size=3),
    voxel_size=props.FloatVectorProperty(name="Voxel Size", description="In object units", size=3, precision=6),
    dense_mb=props.FloatProperty(name="Dense Memory", description="Memory that EEVEE needs, in MB"),
    sparse_mb=props.FloatProperty(name="Sparse Memory", description="Memory of the sparse grids, in MB"),
)
class VolumeLevel(bpy.types.PropertyGroup):
    """One level of detail of a field"""

    number: int
    file_name: str
    resolution: tuple[int, int, int]
    voxel_size: tuple[float, float, float]
    dense_mb: float
    sparse_mb: float


@declared(
    levels=props.CollectionProperty(name="Levels of Detail", type=VolumeLevel),
    level=props.IntProperty(name="Level of Detail", description="The level shown; change it with plenovdb.set_level"),
    fingerprint=props.StringProperty(
        name="Fingerprint", description="Tells this field from others under the same name"
    ),
    sh_degree=props.IntProperty(name="Degree", description="Degree of the spherical harmonics"),
    compositing=props.StringProperty(name="Compositing", description="How the field was trained: linear or encoded"),
    background=props.FloatVectorProperty(
        name="Background", description="Colour behind the field in training, sRGB-encoded", size=3
    ),
    bounds_min=props.FloatVectorProperty(name="Bounds Min", description="In object units", size=3),
    bounds_max=props.FloatVectorProperty(name="Bounds Max", description="In object units", size=3),
    held_out_psnr=props.FloatProperty(name="Held-out PSNR", description="In dB; 0 if it was not measured"),
)
class VolumeSettings(bpy.types.PropertyGroup):
    """`volume.plenovdb`"""

    levels: Any
    level: int
    fingerprint: str
    sh_degree: int
    compositing: str
    background: tuple[float, float, float]
    bounds_min: tuple[float, float, float]
    bounds_max: tuple[float, float, float]
    held_out_psnr: float


CLASSES: tuple[type[Any], ...] = (SceneSettings, VolumeLevel, VolumeSettings)


def attach() -> None:
    """Gives scenes and volumes their settings; after the classes are registered."""
    scene: Any = bpy.types.Scene
    volume: Any = bpy.types.Volume
    scene.plenovdb = props.PointerProperty(name="PlenoVDB", type=SceneSettings)
    volume.plenovdb = props.PointerProperty(name="PlenoVDB", type=VolumeSettings)


def detach() -> None:
    scene: Any = bpy.types.Scene
    volume: Any = bpy.types.Volume
    del volume.plenovdb
    del scene.plenovdb
