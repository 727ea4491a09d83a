# %% [markdown]
# # Classifiers from Python, served by Isobar
#
# Trains a random forest and gradient boosting of scikit-learn and a LightGBM classifier on a table of features, writes
# each as ONNX, and checks that `isobar model` says what onnxruntime says of the same rows.
#
#     pip install scikit-learn lightgbm skl2onnx onnxmltools onnx onnxruntime pyarrow
#     python training/notebooks/onnx_classifiers.py --isobar target/release/isobar --data rows.csv --label failed
#
# Without --data it draws a table of its own. Cells run in Jupyter and in editors that know `# %%`, too.

# %% Settings
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import lightgbm
import numpy as np
import onnx
import onnxmltools
import onnxruntime
import pyarrow.csv
import pyarrow.parquet
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--isobar", default="isobar", help="the program")
parser.add_argument("--data", help="CSV or Parquet with features and a label")
parser.add_argument("--label", default="label", help="column of the label: 0 or 1")
parser.add_argument("--drop", default="", help="columns that are no features, between commas")
parser.add_argument("--test-from", default="", help="COLUMN=VALUE: rows from there on are not trained on")
parser.add_argument("--trees", type=int, default=100)
parser.add_argument("--out", help="folder for models and tables; a temporary one where none is named")
settings = parser.parse_args([] if "ipykernel" in sys.modules else None)
out = Path(settings.out or tempfile.mkdtemp(prefix="isobar-onnx-"))
out.mkdir(parents=True, exist_ok=True)


# %% The table: rows in the order of time, the last third is not trained on
def drawn(count=3_000, seed=1):
    """Counters and gauges of made-up disks; a third of the gauges is missing."""
    random = np.random.default_rng(seed)
    errors = random.poisson(0.4, count).astype(float)
    load = random.normal(0.5, 0.2, count)
    temperature_c = random.normal(35, 5, count)
    odds = -3.5 + 1.2 * errors + 0.12 * (temperature_c - 35) + 2.0 * (load > 0.8)
    label = (random.random(count) < 1 / (1 + np.exp(-odds))).astype(int)
    temperature_c[random.random(count) < 0.3] = np.nan
    return {"error_count_24h": errors, "load": load, "temperature_c": temperature_c, "label": label}


if settings.data:
    read = pyarrow.parquet.read_table if settings.data.endswith(".parquet") else pyarrow.csv.read_csv
    table = {name: column.to_numpy() for name, column in zip((t := read(settings.data)).column_names, t.columns)}
else:
    table = drawn()
unused = {settings.label, *filter(None, settings.drop.split(","))}
names = [name for name in table if name not in unused]
features = np.column_stack([np.asarray(table[name], dtype=np.float64) for name in names]).astype(np.float32)
labels = np.asarray(table[settings.label]).astype(int)
if settings.test_from:
    column, value = settings.test_from.split("=")
    tested = np.asarray(table[column], dtype=np.float64) >= float(value)
else:
    tested = np.arange(len(labels)) >= len(labels) * 2 // 3
print(f"{len(labels)} rows, {len(names)} features, {labels.sum()} positive; {tested.sum()} rows to test")


# %% The models
def named(model, names):
    """Feature names travel in the file's metadata, so that nobody has to type them."""
    onnx.helper.set_model_props(model, {"feature_names": json.dumps(names)})
    return model


def scikit(model):
    model.fit(features[~tested], labels[~tested])
    return named(to_onnx(model, features[:1], options={"zipmap": False}), names)


def light(model):
    model.fit(features[~tested], labels[~tested])
    kinds = [("features", FloatTensorType([None, len(names)]))]
    return named(onnxmltools.convert_lightgbm(model, initial_types=kinds, zipmap=False), names)


# scikit-learn's own boosting does not bear missing values.
filled = make_pipeline(SimpleImputer(), GradientBoostingClassifier(n_estimators=settings.trees, max_depth=3, random_state=1))
models = {
    "forest": scikit(RandomForestClassifier(settings.trees, max_depth=8, random_state=1, n_jobs=1)),
    "boosting": scikit(filled),
    "lightgbm": light(lightgbm.LGBMClassifier(n_estimators=settings.trees, num_leaves=15, random_state=1, n_jobs=1, verbose=-1)),
}

# %% The rows to ask about, as a service would get them: features by name, an empty cell where a value is missing
rows = out / "rows.csv"
with open(rows, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["row", *names])
    for at in np.flatnonzero(tested):
        cells = ["" if np.isnan(value) else repr(float(value)) for value in features[at]]
        writer.writerow([int(at), *cells])


# %% Add each model to a registry of its own, make it champion, and ask it
def isobar(*arguments):
    done = subprocess.run([settings.isobar, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"isobar {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def by_isobar(name, path):
    database = ("--database", out / "registry" / "controller.db")
    note = f"{name}, trained by training/notebooks/onnx_classifiers.py"
    added = json.loads(isobar("model", "add", path, "--name", name, "--task", "hazard", "--note", note, *database, "-o", "json"))
    isobar("model", "promote", name, added["version"], "--why", "first of its kind", *database)
    said = isobar("model", "predict", f"{name}@champion", "--data", rows, "--copy", "row", *database)
    return list(csv.DictReader(said.splitlines()))


def by_onnxruntime(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(["label", "probabilities"], {session.get_inputs()[0].name: features[tested]})


worst = 0.0
for name, model in models.items():
    path = out / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    answers = by_isobar(name, path)
    label, probabilities = by_onnxruntime(path)
    ours = np.array([[float(row[f"probabilities_{c}"]) for c in (0, 1)] for row in answers])
    apart = float(np.abs(ours - probabilities).max())
    other_labels = int(sum(int(row["label"]) != int(l) for row, l in zip(answers, label)))
    order = [int(row["row"]) for row in answers] == np.flatnonzero(tested).tolist()
    score = average_precision_score(labels[tested], ours[:, 1])
    print(f"{name}: {len(answers)} rows, largest difference {apart:.1e}, other labels {other_labels}, AUC-PR {score:.3f}")
    worst = max(worst, apart, float(other_labels), 0.0 if order else 1.0)

# %% The verdict
if worst > 1e-5:
    sys.exit(f"isobar and onnxruntime differ by {worst}")
print("the same answers to 1e-5")
