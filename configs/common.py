"""Every key of a lim_jax configuration, with its default: the paper's set-up on NYU-v2, made sound.

The other configurations start from `get_config()` and change what differs. On the command line any key can
be overridden: `--config.sparsity.strength=1e-5`, `--config.tasks=depth,normals`,
`--config.dataset.image_size=96,128`. An unknown key or a bad value is refused before anything runs.
"""

import ml_collections

from lim_jax.runtime.suggestions import nearest

_VARIANTS = ("dense", "as_published")


def get_config() -> ml_collections.ConfigDict:
    """Returns all keys with their defaults; an empty string means "choose for me" (or "none", where it says so)."""
    config = ml_collections.ConfigDict()
    config.seed = 0
    # Task names: segmentation, depth, normals, or an attribute's name in lower case.
    config.tasks = ("segmentation", "depth", "normals")

    config.dataset = ml_collections.ConfigDict()
    config.dataset.name = "nyu"  # rooms | nyu | celebamask_hq | folder
    config.dataset.data_dir = ""  # prepared records; empty = $TFDS_DATA_DIR or ~/tensorflow_datasets
    config.dataset.source_dir = ""  # the data set as downloaded, read once to prepare the records
    config.dataset.follow_links = False  # whether lists and links in source_dir may lead out of it
    config.dataset.image_size = (256, 256)  # height, width
    config.dataset.classes = 0  # nyu only: 13 | 40; 0 = as many as the source has, 40 of all but MTAN's npy folders
    # What networks are scored on: padded images, or targets of another size, such as that of the images as they came
    # (loss_resolution="image" only); (0, 0) = as image_size.
    config.dataset.padded_size = (0, 0)
    config.dataset.scored_size = (0, 0)
    config.dataset.validation_share = 0.1  # nyu: of the training images; 0, of any data set: train on them, too
    config.dataset.split_sizes = (768, 128, 128)  # rooms only: images to render for train, validation, test

    # Where training examples are kept once read: device | host | none; auto = device, or host of a CPU, if they fit.
    config.dataset.cache = "auto"
    config.dataset.num_workers = 0  # processes that read training examples; 0 = threads of this one
    config.dataset.num_threads = 4  # threads that read, in each of them
    config.dataset.prefetch_batches = 4  # batches kept ready

    # Random changes of training examples, off as in the paper.
    config.augmentation = ml_collections.ConfigDict()
    config.augmentation.horizontal_flip = False
    config.augmentation.max_scale = 1.0  # scale by a factor from min_scale to this, and crop or pad
    config.augmentation.min_scale = 1.0
    config.augmentation.scales = ()  # the factors to draw from, instead of that range
    config.augmentation.crop_size = (0, 0)  # height, width of training images; (0, 0) = image_size
    config.augmentation.max_class_share = 1.0  # of a crop's labelled pixels; beyond it is drawn anew, 10 times at most
    config.augmentation.color_jitter = 0.0  # brightness, contrast, saturation times 1 ± this
    config.augmentation.photometric_distortion = False  # brightness, contrast, saturation and hue, as SSD's authors do
    # divide (the scene is closer) | divide_depth (but not normals, as published) | keep (the lens is longer)
    config.augmentation.zoomed_depth = "divide"

    config.model = ml_collections.ConfigDict()
    config.model.backbone = "resnet50d"  # resnet10d | resnet18d | resnet50d | resnet101d; without d: torchvision's stem
    config.model.pretrained = ""  # of the backbone: a .safetensors or .pth file, or hf:REPO; empty = none
    config.model.dilations = "auto"  # paper | torchvision; auto = paper for the d ones that are not pretrained
    config.model.width_multiplier = 1.0  # of the backbone
    config.model.head = "deeplabv3"  # of dense tasks: deeplabv3 | deeplabv3plus, which also reads the first stage
    config.model.image_head = "classifier"  # of image-level tasks: classifier, the paper's | linear, of pooled features
    config.model.head_channels = 256  # of the DeepLab heads
    config.model.dropout_rate = 0.3  # of the DeepLab heads; the classifier head has its own 0.6 and 0.4
    config.dtype = "float32"  # of the computation, float32 | bfloat16; parameters stay float32
    config.matmul_precision = "default"  # of float32: default (TF32 on GPUs that have it) | tf32 | float32
    config.recompute = False  # compute activations again for gradients, to save memory of GPUs; no effect on CPUs

    config.depth = ml_collections.ConfigDict()
    config.depth.target = "relative"  # relative (to the farthest point of the image) | metres
    config.depth.loss = "mse"  # mse | l1 | berhu
    config.depth.max = 0.0  # metres only: what is farther counts nowhere, predictions stop there; 0 = no limit

    config.normals = ml_collections.ConfigDict()
    config.normals.loss = "cosine"  # cosine (1 - cosine) | l1 (of the components of unit vectors)

    config.segmentation = ml_collections.ConfigDict()
    config.segmentation.class_weights = "none"  # none | balanced (by the train split) | one number per class: 1,1,2.5
    config.segmentation.focal = 0.0  # γ of the focal loss; 0 = plain cross entropy
    config.segmentation.ignore = ""  # names of classes that count as not labelled, with commas

    config.batch_size = 16  # over all devices of all processes
    config.num_epochs = 1000
    config.learning_rate = 1e-4
    config.learning_rate_schedule = "constant"  # constant | plateau | step | poly | cosine
    config.warmup_epochs = 0.0  # in which the rate rises linearly from nearly 0, before any schedule
    config.plateau_patience = 10  # epochs without a better total validation loss before the rate falls
    config.plateau_factor = 0.1  # what the rate is then multiplied with
    config.step_epochs = 100  # step: epochs between two reductions
    config.step_factor = 0.5  # what the rate is then multiplied with
    config.poly_power = 0.9  # poly: the rate is (1 - share of the run that is over) to this power
    config.weight_decay = 0.1
    config.weight_decay_form = "decoupled"  # decoupled (as in AdamW) | coupled (in the gradient, as L2)
    config.gradient_clipping = 0.0  # largest norm of all gradients together, before Adam; 0 = none
    config.accumulation_steps = 1  # batches whose mean gradient makes one step
    config.ema_decay = 0.0  # of a moving average of the parameters, which is then what is evaluated; 0 = none
    # uncertainty | equal | fixed | dwa | gls | rlw | stch | famo, and by the gradients: pcgrad | cagrad | upgrad
    config.loss_weighting = "uncertainty"
    config.loss_weights = ()  # of fixed: one number per task
    config.rep_grad = False  # pcgrad, cagrad, upgrad: by gradients of the features, not of the backbone's parameters
    config.log_gradient_cosines = False  # between the tasks' gradients on the backbone, once per epoch
    config.loss_resolution = "features"  # of dense tasks: features | image, logits resized to the labels first
    config.label_smoothing = 0.1  # of the segmentation loss
    config.early_stopping_patience = 25  # epochs, per task (its head freezes) and in total; 0 = never
    config.eval_every_epochs = 1
    config.checkpoint_every_epochs = 1
    config.checkpoint_every_minutes = 0.0  # in the middle of an epoch, too; 0 = only at the ends of epochs
    config.report_every_epochs = 10  # figures of the run as it is, drawn while it trains; 0 = only at its end
    config.trackers = ()  # wandb, mlflow: where records are sent besides TensorBoard's events
    config.max_bad_steps = 10  # steps in a row whose loss or gradients are not finite (they are skipped): then it ends

    config.sparsity = ml_collections.ConfigDict()
    config.sparsity.penalty = "group_lasso"  # group_lasso | group_mcp | sparse_group_lasso | l1 | none
    config.sparsity.strength = 0.0  # the paper's λ
    config.sparsity.target = 0.0  # share of groups to be zero at the end: λ is found, strength ignored; 0 = off
    config.sparsity.target_macs = 0.0  # share of the backbone's MACs to be left at the end; instead of target
    config.sparsity.start_epoch = 0  # epochs before λ applies
    config.sparsity.healing_epochs = 0  # the last epochs: no penalty, zeros stay zero; target and strength end before
    config.sparsity.scope = "backbone"  # backbone | backbone_and_heads (its output channels, over all heads)
    config.sparsity.metric = "adam"  # adam (adaptive) | identity (Euclidean)
    config.sparsity.bias_corrected = True  # the metric as Adam's step has it; the published one prunes at once
    config.sparsity.compact_every_epochs = 0  # remove zero groups while training, as often as this; 0 = never
    config.sparsity.patience_epochs = 3  # ends of epochs in a row at which a group was zero before it is removed

    # Habits of the paper's public code that change results: off here, on with `:as_published`.
    config.published = ml_collections.ConfigDict()
    config.published.reset_optimizer_every_epoch = False
    config.published.coupled_weight_decay_when_dense = False
    config.published.double_sigmoid = False

    config.init_from = ""  # a workdir whose best weights start this run
    config.num_devices = 0  # of this process; 0 = all
    config.compilation_cache_dir = "auto"  # auto = the user's cache directory; empty = no cache
    return config


def with_variant(config: ml_collections.ConfigDict, variant: str, file: str) -> ml_collections.ConfigDict:
    """Returns `config`, changed to the `variant` of the paper's set-ups that `file` was asked for: "" changes nothing.

    Raises:
      ValueError: there is no such variant.
    """
    if variant == "dense":
        config.sparsity.strength = 0.0
    elif variant == "as_published":
        as_published(config)
    elif variant:
        meant = nearest(variant, _VARIANTS)
        hint = f"did you mean {meant}?" if meant else f"it has {' and '.join(_VARIANTS)}"
        raise ValueError(f"{file} has no variant {variant!r}: {hint}")
    return config


def as_published(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Switches on what the paper's public code does and a user would not expect; returns `config`."""
    config.sparsity.bias_corrected = False
    config.loss_weighting = "uniform"  # the weights s_t were never given to the optimizer
    config.learning_rate_schedule = "constant"  # the schedule drove an optimizer that was thrown away
    for key in config.published:
        config.published[key] = True
    return config
