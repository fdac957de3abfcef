"""Steps of the ZO2 package (github.com/liangyuwang/zo2) through its nanogpt models, for a row beside ours.

    ZO2_REFERENCE=FOLDER zo2_reference.py --size 1.3b [--steps 10] [--dtype fp16]

Imports the package from the checkout FOLDER and calls its public names only: MeZOSGDConfig, GPTConfigs.opt_*,
get_nanogpt_mezo_sgd. Batch 1, the model's 2048 tokens, its defaults otherwise (every block offloaded, overlap on). Prints a
JSON object: tokens per second from the device's clock over all steps but the first two, the peak of PyTorch's allocator, and
the whole GPU's used memory. These models do not tie their head to the embedding, so they have up to 5 % more weights than OPT.
"""
import argparse, contextlib, io, json, os, sys, types


def quick_weights(torch):
    """Normal weights from a small pool: drawing 13 billion of them takes minutes on a CPU."""
    pool = {}

    def normal(tensor, mean=0.0, std=1.0, generator=None):
        with torch.no_grad():
            key = tensor.dtype
            if key not in pool:
                pool[key] = torch.randn(1 << 20, dtype=torch.float32).to(tensor.dtype)
            flat = tensor.view(-1)
            for begin in range(0, flat.numel(), 1 << 20):
                piece = flat[begin:begin + (1 << 20)]
                piece.copy_(pool[key][:piece.numel()]).mul_(std).add_(mean)
        return tensor

    torch.nn.init.normal_ = normal
    torch.nn.Linear.reset_parameters = lambda self: None  # each is given its weights afterwards
    torch.nn.Embedding.reset_parameters = lambda self: None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--size', default='1.3b')
    parser.add_argument('--steps', type=int, default=10)
    parser.add_argument('--dtype', default='fp16', choices=['fp16', 'bf16', 'fp32'])
    a = parser.parse_args()
    import torch
    # Without the package's own __init__, which imports its Hugging Face models and with them a certain transformers.
    package = types.ModuleType('zo2')
    package.__path__ = [os.path.join(os.environ['ZO2_REFERENCE'], 'zo2')]
    sys.modules['zo2'] = package
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints
        from zo2.config.mezo_sgd import MeZOSGDConfig
        from zo2.model.nanogpt.model import GPTConfigs
        from zo2.model.nanogpt.mezo_sgd import get_nanogpt_mezo_sgd
        torch.manual_seed(1)
        quick_weights(torch)
        shape = getattr(GPTConfigs, 'opt_' + a.size.replace('.', '_'))
        config = MeZOSGDConfig(lr=1e-7, weight_decay=0.0, eps=1e-3, working_device='cuda:0')
        config.zo2 = True
        torch.set_default_dtype({'fp16': torch.float16, 'bf16': torch.bfloat16, 'fp32': torch.float32}[a.dtype])
        model = get_nanogpt_mezo_sgd(config)(shape, config)
        for name in ('zo_train', 'eval'):  # older checkouts have no zo_train
            if hasattr(model, name):
                getattr(model, name)()
                break
        ids = torch.randint(0, shape.vocab_size, (1, shape.block_size), device='cuda:0')
        positions = torch.arange(shape.block_size, dtype=torch.long, device='cuda:0').unsqueeze(0)
        torch.cuda.reset_peak_memory_stats()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for step in range(a.steps + 2):
            if step == 2:
                torch.cuda.synchronize()
                begin.record()
            model(ids, positions, ids)
        torch.cuda.synchronize()
        end.record()
        torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    seconds = begin.elapsed_time(end) / 1e3 / a.steps
    print(json.dumps({'size': a.size, 'dtype': a.dtype, 'steps': a.steps, 'period_s': seconds, 'tokens_per_s': shape.block_size / seconds,
                      'peak_bytes': torch.cuda.max_memory_allocated(), 'gpu_bytes': total - free,
                      'weights': sum(p.numel() for p in model.parameters())}))


if __name__ == '__main__':
    main()
