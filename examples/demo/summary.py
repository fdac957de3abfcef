"""Prints what the demo achieved, and fails when it did not: summary.py OUT"""
import json, math, os, sys
import numpy as np
import onnx
from onnx import numpy_helper

out = sys.argv[1]
data = json.load(open(os.path.join(out, 'sections.json')))
before, after = (json.load(open(os.path.join(out, f))) for f in ('zero-shot.json', 'tuned.json'))
n = data['heldout']
error = math.sqrt(before['accuracy'] * (1 - before['accuracy']) / n + after['accuracy'] * (1 - after['accuracy']) / n)
old, new = (
    {i.name: numpy_helper.to_array(i) for i in onnx.load(os.path.join(out, f)).graph.initializer} for f in ('model.onnx', 'tuned.onnx'))
changed = sum(not np.array_equal(old[k], new[k]) for k in old if old[k].dtype == np.float32)
moved = math.sqrt(sum(float(((new[k].astype(np.float64) - old[k]) ** 2).sum()) for k in old if old[k].dtype == np.float32))
print(f"""
held-out descriptions   {n}
majority class          {100 * data['majority']:.1f} %
zero-shot accuracy      {100 * before['accuracy']:.1f} %   (loss {before['loss']:.4f})
tuned accuracy          {100 * after['accuracy']:.1f} %   (loss {after['loss']:.4f}), {(after['accuracy'] - before['accuracy']) / error:+.1f} standard errors
weights that changed    {changed} of {sum(v.dtype == np.float32 for v in old.values())} tensors, moved by {moved:.3f} (L2)

plan report             {out}/report.json
timeline                {out}/timeline.html   (open it in a browser)
tuned model             {out}/tuned.onnx and {out}/tuned.safetensors
journal                 {out}/run.zoj

README.md goes on from here: "Five minutes with it".""")
if after['accuracy'] - before['accuracy'] <= 2 * error:
    sys.exit('demo: the tuned model is not better than zero-shot by two standard errors')
if changed < 50:
    sys.exit('demo: the encoder did not change')
