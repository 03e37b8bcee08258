"""The folder of a run.

RUN/checkpoint.safetensors    theta, optimizer state, iteration and settings (checkpoint.py)
RUN/metrics.jsonl             one line for each logged iteration and evaluation (metrics.py)
RUN/learning_curve.png        with an unseen task of images as it is classified (plot_task.py)
RUN/adaptation.png            for functions of one number: an unseen one (plot.py)
RUN/joint.safetensors         theirs: the baseline trained without meta-learning (pictures.py)
"""

CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"
BASELINE = "joint.safetensors"
