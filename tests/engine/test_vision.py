import pytest
import torch
from helpers.compare import assert_close
from PIL import Image

from loupe.engine.vision import windows_attention


def test_patches_are_embedded_as_by_the_convolution(shared_policy):
    projection = shared_policy.backbone.model.visual.patch_embed.proj
    patches = torch.randn(5, *projection.weight.shape[1:], generator=torch.Generator().manual_seed(0))
    expected = torch.nn.Conv3d.forward(projection, patches)
    assert projection(patches).shape == expected.shape == (5, len(projection.weight), 1, 1, 1)
    assert_close(projection(patches), expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [[3], [2, 2, 2], [4, 1, 2, 4, 1]])
def test_no_token_attends_beyond_its_window(sizes):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, sum(sizes), 8, generator=generator) for _ in range(3))
    bounds = torch.tensor([0, *sizes]).cumsum(0)
    out, _ = windows_attention(None, query, key, value, None, 0.5, bounds)
    window = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    scores = (query @ key.mT * 0.5).masked_fill(window[:, None] != window, -torch.inf)
    assert_close(out, (scores.softmax(-1) @ value).transpose(1, 2), atol=1e-6)


def test_pictures_of_several_sizes_have_the_features_that_transformers_computes(shared_policy):
    sizes = [(112, 84), (112, 112), (56, 112), (112, 84), (224, 168)]
    images = [shared_policy.patches(Image.effect_noise(size, 80).convert("RGB")) for size in sizes]
    grid = torch.tensor([image.grid for image in images])
    with torch.no_grad():
        (ours,) = shared_policy.encode(images)
        pixels = torch.cat([image.pixels for image in images])
        expected = shared_policy.backbone.model.get_image_features(pixels, grid, return_dict=True).pooler_output
    assert_close(ours, torch.cat(expected), atol=1e-5)
