"""Where patches lie and how they become one image."""

import numpy as np
import pytest

from ptycho_torch.physics.stitch import patch_positions, stitch_tiles, tile_extent, tile_start
from ptycho_torch.runtime.errors import InputError


def raster(size: int, side: int, step: int) -> np.ndarray:
    places = np.arange(0, size - side + 1, step)
    return np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)


def cut(image: np.ndarray, positions: np.ndarray, side: int) -> np.ndarray:
    return np.stack([image[r : r + side, c : c + side] for r, c in positions])


def random_image(size: int, seed: int = 0) -> np.ndarray:
    stream = np.random.default_rng(seed)
    return stream.normal(size=(size, size)) + 1j * stream.normal(size=(size, size))


@pytest.mark.parametrize(("side", "step"), [(32, 5), (9, 4), (8, 8)])
def test_tiles_of_an_object_make_that_object(side, step):
    """A tile that is one pixel off, or rows and columns swapped, fails here."""
    image = random_image(60)
    positions = raster(60, side, step)
    one = np.zeros(len(positions), int)
    stitched = stitch_tiles(cut(image, positions, side), positions, one, step)
    np.testing.assert_array_equal(stitched[0], image[tile_extent(positions, side, step)])
    with pytest.raises(InputError, match="do not fit"):
        tile_start(side, side + 1)


def test_images_stay_apart_whatever_the_order_of_patches():
    first, second = random_image(40, 1), random_image(40, 2)
    positions = raster(40, 16, 4)
    patches = np.concatenate([cut(first, positions, 16), cut(second, positions, 16)])
    images = np.repeat([0, 1], len(positions))
    order = np.random.default_rng(3).permutation(len(images))
    stitched = stitch_tiles(patches[order], np.tile(positions, (2, 1))[order], images[order], 4)
    extent = tile_extent(positions, 16, 4)
    np.testing.assert_array_equal(stitched, np.stack([first[extent], second[extent]]))


def test_a_hole_is_refused():
    positions = np.delete(raster(40, 16, 4), 8, axis=0)
    patches = cut(random_image(40), positions, 16)
    with pytest.raises(InputError, match="leave 16 of"):
        stitch_tiles(patches, positions, np.zeros(len(positions), int), 4)


def coordinates(values: list[list[float]], channels: int = 1) -> np.ndarray:
    return np.repeat(np.array(values, np.float32)[:, None, :, None], channels, axis=-1)


def test_positions_are_those_of_the_first_channel():
    offsets = coordinates([[0, 10], [20, 30]], channels=4)
    nominal = np.zeros_like(offsets)
    nominal[..., 1:] = 4.0
    nominal[:, 0, 0, 0] = 1.0004  # the float error of some program
    np.testing.assert_array_equal(patch_positions(offsets, nominal), [[1, 10], [21, 30]])


@pytest.mark.parametrize("bad", [[0.5, 3.0], [-1.0, 3.0], [np.nan, 3.0], [2.002, 3.0]])
def test_positions_off_the_pixel_grid_are_refused(bad):
    offsets = coordinates([[0, 0], bad])
    with pytest.raises(InputError, match="patch 1 lies at"):
        patch_positions(offsets, np.zeros_like(offsets))
