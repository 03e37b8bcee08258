"""The folder of a run.

RUN/checkpoint.safetensors    theta, optimizer state, iteration and settings (checkpoint.py)
RUN/metrics.jsonl             one line for each logged iteration and evaluation (metrics.py)
RUN/learning_curve.png        with an unseen task of images as it is classified (plot_task.py)
RUN/adaptation.png            for functions of one number: an unseen one (plot.py)
RUN/joint.safetensors         theirs: the baseline trained without meta-learning (pictures.py)
RUN/log.txt                   in a sweep: what the run said (sweep.py)

SWEEP/sweep.json              what a sweep is: the options of its command (sweep.py)
SWEEP/sweep.png               its picture (plot_sweep.py)
SWEEP/NAME-VALUE-seed-N/      the folder of a run
"""

CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"
BASELINE = "joint.safetensors"
LOG = "log.txt"
SWEEP = "sweep.json"
SWEPT = "sweep.png"
