"""Makes the fixtures beside this file: small ONNX models with what onnxruntime says of a few rows.

    pip install scikit-learn lightgbm skl2onnx onnxmltools onnx onnxruntime
    python models/tests/onnx/make.py              # all fixtures
    python models/tests/onnx/make.py random N DIR # N random models into DIR/random.json, for a longer comparison

Each line of a .json file is one model: its name, its bytes in base64, rows (null is NaN) and the outputs of onnxruntime.
Converters write some lists in any order, so the files differ from run to run; what they say does not.
"""

import base64
import json
import math
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

HERE = Path(__file__).parent
ML = "ai.onnx.ml"
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}


def cell(value):
    """A number that JSON can hold; 32-bit ones keep nine digits."""
    if isinstance(value, (str, int, np.integer)):
        return value if isinstance(value, str) else int(value)
    value = float(value)
    return float(f"{value:.9g}") if math.isfinite(value) else (None if math.isnan(value) else str(value))


def columns(name, output):
    """The columns of an output as the reader names them."""
    if isinstance(output, list):  # ZipMap: one dictionary for each row.
        return {f"{name}_{key}": [cell(row[key]) for row in output] for key in output[0]}
    output = np.asarray(output)
    if output.ndim == 1 or output.shape[1] == 1:
        return {name: [cell(value) for value in output.reshape(-1)]}
    return {f"{name}#{at}": [cell(value) for value in output[:, at]] for at in range(output.shape[1])}


def run(model, rows):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs, begin = {}, 0
    for given in session.get_inputs():
        width = given.shape[1] if isinstance(given.shape[1], int) else rows.shape[1]
        inputs[given.name] = rows[:, begin : begin + width].astype(DTYPES[given.type])
        begin += width
    names = [output.name for output in session.get_outputs()]
    found = {}
    for name, output in zip(names, session.run(None, inputs)):
        found.update(columns(name, output))
    return found


def case(name, model, rows):
    if not isinstance(model, bytes):
        model.graph.name = "fixture"  # Converters name graphs at random.
        model = model.SerializeToString()
    return {
        "name": name,
        "onnx": base64.b64encode(model).decode(),
        "rows": [[cell(value) for value in row] for row in rows],
        "outputs": run(model, rows),
    }


def write(path, cases):
    with open(path, "w") as file:
        for one in cases:
            file.write(json.dumps(one, separators=(",", ":")) + "\n")
    print(f"{path}: {len(cases)} models, {path.stat().st_size} bytes")


# --- Models by hand: what no converter writes, but the specification allows. ---


def graph(nodes, inputs, outputs, initializers=(), ml=1, core=13):
    made = helper.make_graph(nodes, "by_hand", inputs, outputs, list(initializers))
    sets = [helper.make_opsetid("", core), helper.make_opsetid(ML, ml)]
    return helper.make_model(made, opset_imports=sets, ir_version=8)


def value(name, kind, width):
    return helper.make_tensor_value_info(name, kind, ["N", width] if width else ["N"])


MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


def nodes_of(rng, trees, features, modes, tracks):
    """Random trees of up to seven nodes as the attributes want them, and their leaves."""
    lists = {key: [] for key in ["tree", "node", "feature", "value", "mode", "yes", "no", "missing"]}
    leaves = []
    for tree in range(trees):
        size = int(rng.choice([1, 3, 5, 7]))
        yes = {0: (1, 2), 1: (3, 4), 2: (5, 6)}
        inner = [at for at in range(size) if at in yes and yes[at][1] < size]
        for at in range(size):
            leaf = at not in inner
            if leaf:
                leaves.append((tree, at))
            lists["tree"].append(tree)
            lists["node"].append(at)
            lists["feature"].append(0 if leaf else int(rng.integers(features)))
            lists["value"].append(0.0 if leaf else float(np.float32(rng.choice([-0.5, 0.0, 0.25, 1.0]))))
            lists["mode"].append("LEAF" if leaf else str(rng.choice(modes)))
            lists["yes"].append(0 if leaf else yes[at][0])
            lists["no"].append(0 if leaf else yes[at][1])
            lists["missing"].append(int(not leaf and tracks and rng.integers(2)))
    attributes = {
        "nodes_treeids": lists["tree"],
        "nodes_nodeids": lists["node"],
        "nodes_featureids": lists["feature"],
        "nodes_values": lists["value"],
        "nodes_modes": lists["mode"],
        "nodes_truenodeids": lists["yes"],
        "nodes_falsenodeids": lists["no"],
    }
    if tracks:
        attributes["nodes_missing_value_tracks_true"] = lists["missing"]
    return attributes, leaves


LABELS = [[0, 1], [5, 7], ["no", "yes"], [0, 1, 2], ["a", "b", "c"]]
TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"]


def classifier(rng, labels, speak, signs, base, transform, modes, tracks, element=TensorProto.FLOAT):
    attributes, leaves = nodes_of(rng, int(rng.integers(1, 4)), 3, modes, tracks)
    ids, weights, trees, nodes = [], [], [], []
    for tree, node in leaves:
        chosen = speak if speak != "some" else [int(rng.integers(len(labels)))]
        for at in chosen:
            weight = float(np.float32(rng.choice([0.1, 0.25, 0.3, 0.5])))
            ids.append(at)
            trees.append(tree)
            nodes.append(node)
            weights.append(-weight if signs == "mixed" and rng.integers(2) else weight)
    attributes |= {"class_ids": ids, "class_weights": weights, "class_treeids": trees, "class_nodeids": nodes}
    key = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_int64s"
    attributes[key] = labels
    attributes["post_transform"] = transform
    if base:
        attributes["base_values"] = [float(np.float32(v)) for v in rng.choice([-0.5, 0.125, 0.5], base)]
    node = helper.make_node("TreeEnsembleClassifier", ["x"], ["label", "scores"], domain=ML, **attributes)
    kind = TensorProto.STRING if isinstance(labels[0], str) else TensorProto.INT64
    return graph([node], [value("x", element, 3)], [value("label", kind, 0), value("scores", TensorProto.FLOAT, len(labels))])


def regressor(rng, targets, aggregate, transform, base, modes, tracks):
    attributes, leaves = nodes_of(rng, int(rng.integers(1, 4)), 3, modes, tracks)
    ids, weights, trees, nodes = [], [], [], []
    for tree, node in leaves:
        for target in range(targets) if targets == 1 or rng.integers(2) else [int(rng.integers(targets))]:
            ids.append(target)
            trees.append(tree)
            nodes.append(node)
            weights.append(float(np.float32(rng.choice([-0.5, 0.1, 0.25, 0.5]))))
    if len(set(ids)) < targets:
        return None
    attributes |= {"target_ids": ids, "target_weights": weights, "target_treeids": trees, "target_nodeids": nodes}
    attributes |= {"n_targets": targets, "aggregate_function": aggregate, "post_transform": transform}
    if base:
        attributes["base_values"] = [float(np.float32(v)) for v in rng.choice([-0.5, 0.125, 0.5], base)]
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain=ML, **attributes)
    return graph([node], [value("x", TensorProto.FLOAT, 3)], [value("y", TensorProto.FLOAT, targets)])


def linear(rng, labels, targets, transform):
    attributes = {
        "coefficients": [float(np.float32(v)) for v in rng.normal(size=3 * targets)],
        "intercepts": [float(np.float32(v)) for v in rng.normal(size=targets)],
        "post_transform": transform,
    }
    if labels is None:
        node = helper.make_node("LinearRegressor", ["x"], ["y"], domain=ML, targets=targets, **attributes)
        return graph([node], [value("x", TensorProto.FLOAT, 3)], [value("y", TensorProto.FLOAT, targets)])
    key = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_ints"
    attributes[key] = labels
    node = helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain=ML, **attributes)
    kind = TensorProto.STRING if isinstance(labels[0], str) else TensorProto.INT64
    return graph([node], [value("x", TensorProto.FLOAT, 3)], [value("label", kind, 0), value("scores", TensorProto.FLOAT, len(labels))])


def rows_of(rng, count=6, features=3, missing=True):
    rows = rng.choice([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0], (count, features))
    if missing:
        rows[0, 0] = np.nan
        rows[1, :] = np.nan
    return rows


def random_case(rng, at):
    """One model by hand; None where onnxruntime itself refuses it."""
    kind = rng.choice(["classifier", "classifier", "regressor", "linear"])
    modes = MODES if rng.integers(2) else [MODES[int(rng.integers(6))]]
    tracks, transform = bool(rng.integers(2)), str(rng.choice(TRANSFORMS))
    missing = True
    if kind == "classifier":
        labels = LABELS[int(rng.integers(len(LABELS)))]
        every = list(range(len(labels)))
        speak = [every, [0], [1], "some"][int(rng.integers(4))] if len(labels) == 2 else [every, "some"][int(rng.integers(2))]
        signs = str(rng.choice(["mixed", "positive"]))
        base = int(rng.choice([0, 0, 1, len(labels)])) if len(labels) == 2 else int(rng.choice([0, len(labels)]))
        one_score = speak in ([0], [1])
        if len(labels) == 2 and (transform == "PROBIT" and speak != every or speak == "some" and base == 1):
            return None  # onnxruntime writes one answer of two and leaves the other as it finds it.
        if labels == [5, 7] and not one_score:
            labels = [0, 1]  # onnxruntime says 1 and 0, whatever the labels are.
        model = classifier(rng, labels, speak, signs, base, transform, modes, tracks)
        name = f"{at} classifier {labels} speak {speak} {signs} base {base} {transform}"
    elif kind == "regressor":
        targets = int(rng.integers(1, 4))
        aggregate = str(rng.choice(["SUM", "AVERAGE", "MIN", "MAX"]))
        base = int(rng.choice([0, targets]))
        model = regressor(rng, targets, aggregate, transform, base, modes, tracks)
        name = f"{at} regressor {targets} {aggregate} base {base} {transform}"
    else:
        missing = False
        labels = [None, *LABELS][int(rng.integers(len(LABELS) + 1))]
        if labels and transform == "PROBIT":
            labels = LABELS[-1]  # As above.
        targets = int(rng.integers(1, 3)) if labels is None else (1 if len(labels) == 2 and rng.integers(2) else len(labels))
        model = linear(rng, labels, targets, transform)
        name = f"{at} linear {labels} targets {targets} {transform}"
    if model is None:
        return None
    try:
        return case(name, model, rows_of(rng, missing=missing))
    except Exception as error:
        print("onnxruntime refuses", name, str(error)[:120], file=sys.stderr)
        return None


def by_hand():
    """A selection: each transform, mode, aggregate and way to speak for two classes at least once."""
    cases = []
    rng = np.random.default_rng(4)
    for transform in TRANSFORMS:
        for speak, signs, base in [([0, 1], "mixed", 0), ([0], "mixed", 0), ([0], "positive", 0), ([0], "mixed", 1), ([0, 1], "mixed", 2)]:
            if transform == "PROBIT" and speak == [0]:
                continue
            model = classifier(rng, [0, 1], speak, signs, base, transform, MODES, True)
            cases.append(case(f"classifier {speak} {signs} base {base} {transform}", model, rows_of(rng)))
        model = classifier(rng, ["a", "b", "c"], [0, 1, 2], "mixed", 3, transform, MODES, True)
        cases.append(case(f"classifier three {transform}", model, rows_of(rng)))
        model = regressor(np.random.default_rng(8), 2, "SUM", transform, 2, MODES, True)
        cases.append(case(f"regressor two {transform}", model, rows_of(rng)))
        cases.append(case(f"linear three {transform}", linear(rng, ["a", "b", "c"], 3, transform), rows_of(rng, missing=False)))
    for mode in MODES:
        for tracks in (False, True):
            model = regressor(np.random.default_rng(9), 1, "SUM", "NONE", 1, [mode], tracks)
            cases.append(case(f"{mode} {tracks}", model, rows_of(rng)))
    for aggregate in ["SUM", "AVERAGE", "MIN", "MAX"]:
        cases.append(case(aggregate, regressor(np.random.default_rng(9), 1, aggregate, "NONE", 1, MODES, True), rows_of(rng)))
    for labels, targets in [([0, 1], 1), (["no", "yes"], 1), ([0, 1], 2)]:
        for transform in ["NONE", "LOGISTIC"]:
            cases.append(case(f"linear {labels} {targets} {transform}", linear(rng, labels, targets, transform), rows_of(rng, missing=False)))
    return cases


# --- Models of the libraries. ---


def learned():
    import lightgbm
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType
    from skl2onnx import to_onnx
    from sklearn import ensemble, linear_model, neural_network, pipeline, preprocessing, tree
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.impute import SimpleImputer

    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 4)).astype(np.float32)
    two = (x[:, 0] + x[:, 1] * x[:, 2] > 0).astype(int)
    three = np.array(["low", "middle", "high"])[(x[:, 0] > -0.3).astype(int) + (x[:, 1] > 0.5)]
    amount = 2 * x[:, 0] + np.abs(x[:, 1])
    holes = x.copy()
    holes[rng.random(x.shape) < 0.2] = np.nan
    rows = x[:8].astype(np.float64)
    with_holes = holes[:8].astype(np.float64)
    make = pipeline.make_pipeline
    forest = dict(n_estimators=4, max_depth=3, random_state=0)
    boosted = dict(n_estimators=4, max_depth=2, random_state=0)
    cases = []

    def sk(name, model, target, data=x, given=rows, double=False, **options):
        model.fit(data, target)
        start = data[:1].astype(np.float64) if double else data[:1]
        cases.append(case(name, to_onnx(model, start, options=options or None), given))

    plain = dict(zipmap=False)
    sk("sklearn forest, two classes", ensemble.RandomForestClassifier(**forest), two, **plain)
    sk("sklearn forest, ZipMap, texts", ensemble.RandomForestClassifier(**forest), three)
    sk("sklearn forest, missing values", ensemble.RandomForestClassifier(**forest), two, holes, with_holes, **plain)
    sk("sklearn forest, double", ensemble.RandomForestClassifier(**forest), two, double=True, **plain)
    sk("sklearn extra trees", ensemble.ExtraTreesClassifier(**forest), three, **plain)
    sk("sklearn boosting, two classes", ensemble.GradientBoostingClassifier(**boosted), two, **plain)
    sk("sklearn boosting, three classes", ensemble.GradientBoostingClassifier(**boosted), three, **plain)
    sk("sklearn tree", tree.DecisionTreeClassifier(max_depth=3, random_state=0), three, **plain)
    sk("sklearn bagging", ensemble.BaggingClassifier(tree.DecisionTreeClassifier(max_depth=2), n_estimators=3, random_state=0), two, **plain)
    sk("sklearn forest of values", ensemble.RandomForestRegressor(**forest), amount)
    sk("sklearn boosting of values", ensemble.GradientBoostingRegressor(**boosted), amount)
    sk("sklearn linear", linear_model.LinearRegression(), amount)
    sk("sklearn logistic, ZipMap", linear_model.LogisticRegression(), two)
    sk("sklearn logistic, three", linear_model.LogisticRegression(), three, **plain)
    steps = make(SimpleImputer(), preprocessing.StandardScaler(), linear_model.LogisticRegression())
    sk("sklearn imputer, scaler, logistic", steps, two, holes, with_holes, **plain)
    steps = make(preprocessing.StandardScaler(), linear_model.LogisticRegression())
    sk("sklearn scaler, logistic, double", steps, two, double=True, **plain)
    for norm in ["l1", "l2", "max"]:
        steps = make(preprocessing.MinMaxScaler(), preprocessing.Normalizer(norm), linear_model.LogisticRegression())
        sk(f"sklearn min-max, {norm}, logistic", steps, two, **plain)
    steps = make(preprocessing.RobustScaler(), preprocessing.Binarizer(threshold=0.2), ensemble.RandomForestClassifier(**forest))
    sk("sklearn robust, binarizer, forest", steps, two, **plain)
    calibrated = CalibratedClassifierCV(ensemble.RandomForestClassifier(**forest), cv=2)
    sk("sklearn calibrated forest", calibrated, two, **plain)
    sk("sklearn network", neural_network.MLPClassifier((4,), max_iter=30, random_state=0), two, **plain)

    def light(name, model, target, data=x, given=rows, zipmap=False, **fit):
        model.set_params(n_estimators=4, num_leaves=5, n_jobs=1, random_state=0, verbose=-1, deterministic=True)
        model.fit(data, target, **fit)
        kinds = [("features", FloatTensorType([None, data.shape[1]]))]
        cases.append(case(name, onnxmltools.convert_lightgbm(model, initial_types=kinds, zipmap=zipmap), given))

    light("lightgbm, two classes", lightgbm.LGBMClassifier(), two)
    light("lightgbm, two classes, ZipMap", lightgbm.LGBMClassifier(), two, zipmap=True)
    light("lightgbm, three classes", lightgbm.LGBMClassifier(), np.unique(three, return_inverse=True)[1])
    light("lightgbm, missing values", lightgbm.LGBMClassifier(), two, holes, with_holes)
    light("lightgbm, values", lightgbm.LGBMRegressor(), amount)
    bagged = lightgbm.LGBMClassifier(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5)
    light("lightgbm, forest", bagged, two)
    categories = x.copy()
    categories[:, 3] = rng.integers(0, 6, len(x))
    target = (np.isin(categories[:, 3], [1, 4]) ^ (x[:, 0] > 0)).astype(int)
    light("lightgbm, categories", lightgbm.LGBMClassifier(min_data_per_group=5, cat_smooth=1.0), target, categories, categories[:8].astype(np.float64), categorical_feature=[3])
    return cases


def exported():
    """What the program wrote itself: DIR/*.onnx with rows in DIR/*.rows.json, by the test that holds their bytes."""
    cases = []
    for path in sorted((HERE / "exported").glob("*.onnx")):
        rows = json.loads(path.with_suffix(".rows.json").read_text())
        rows = np.array([[np.nan if v is None else float(v) for v in row] for row in rows])
        cases.append(case(path.stem, path.read_bytes(), rows))
    return cases


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "random":
        rng = np.random.default_rng(11)
        cases = [random_case(rng, at) for at in range(int(sys.argv[2]))]
        write(Path(sys.argv[3]) / "random.json", [one for one in cases if one])
        return
    write(HERE / "by_hand.json", by_hand())
    write(HERE / "learned.json", learned())
    write(HERE / "exported.json", exported())


if __name__ == "__main__":
    main()
