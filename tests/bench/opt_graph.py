"""Graphs of the published OPT sizes as PyTorch exports them, fp16, without their weights (nothing large is made).

    opt_graph.py FOLDER [SIZE ...]      sizes: 125m 1.3b 2.7b 6.7b 13b 30b 66b 175b; all unless named

writes FOLDER/opt-SIZE/model.onnx. The model is built on PyTorch's meta device, which has shapes and no values; its
parameters become references into model.onnx.data, which is not there: zo2-plan needs no values to plan. Needs
`make demo`'s Python environment (PyTorch, transformers).
"""
import os, sys

# hidden, layers, heads (OPT's paper, table 1)
SIZES = {'125m': (768, 12, 12), '1.3b': (2048, 24, 32), '2.7b': (2560, 32, 32), '6.7b': (4096, 32, 32),
         '13b': (5120, 40, 40), '30b': (7168, 48, 56), '66b': (9216, 64, 72), '175b': (12288, 96, 96)}


def export(size, path):
    import onnx_ir, torch
    from transformers import OPTConfig, OPTForCausalLM
    hidden, layers, heads = SIZES[size]
    with torch.device('meta'):
        model = OPTForCausalLM(OPTConfig(
            vocab_size=50272, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, ffn_dim=4 * hidden,
            word_embed_proj_dim=hidden, max_position_embeddings=2048, attn_implementation='sdpa')).half().eval()
        model.config.use_cache = False
        ids = torch.zeros((2, 32), dtype=torch.int64)
        dims = {0: torch.export.Dim('batch'), 1: torch.export.Dim('seq')}
        program = torch.onnx.export(model, (), dynamo=True, verbose=False, output_names=['logits'], optimize=False,
                                    kwargs={'input_ids': ids, 'attention_mask': torch.ones_like(ids)},
                                    dynamic_shapes={'input_ids': dims, 'attention_mask': dims})
    offset = 0
    for value in program.model.graph.initializers.values():
        tensor = value.const_value
        if not getattr(tensor.raw, 'is_meta', False):
            continue  # a constant of the exporter
        value.const_value = onnx_ir.ExternalTensor('model.onnx.data', offset, tensor.nbytes, tensor.dtype,
                                                   shape=tensor.shape, name=value.name)
        offset += (tensor.nbytes + 4095) // 4096 * 4096
    onnx_ir.save(program.model, path)


def main():
    folder, sizes = sys.argv[1], sys.argv[2:] or list(SIZES)
    for size in sizes:
        os.makedirs(f'{folder}/opt-{size}', exist_ok=True)
        export(size, f'{folder}/opt-{size}/model.onnx')
        print(f'{folder}/opt-{size}/model.onnx: {os.path.getsize(f"{folder}/opt-{size}/model.onnx")} bytes')


if __name__ == '__main__':
    main()
