"""The schedulers of diffusers that bench reads, and what it makes of each of their fields.

A field is used, irrelevant or refused (`bench.models.sources.fields`); a scheduler that is not in
`SCHEDULERS`, `EDM` or `FLOWS` is refused with the reason in `OTHERS`.
"""

from bench.models.sources.fields import irrelevant, refused, used

# A scheduler, and the class whose betas are taken for it. DPMSolverSDE needs a further package to
# be built, and has the betas of Heun.
SCHEDULERS = {
    **{
        name: name
        for name in (
            "DDPMScheduler",
            "DDPMParallelScheduler",
            "DDIMScheduler",
            "DDIMParallelScheduler",
            "PNDMScheduler",
            "DPMSolverMultistepScheduler",
            "DPMSolverSinglestepScheduler",
            "DEISMultistepScheduler",
            "UniPCMultistepScheduler",
            "SASolverScheduler",
            "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
            "HeunDiscreteScheduler",
            "LMSDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
        )
    },
    "DPMSolverSDEScheduler": "HeunDiscreteScheduler",
}
_LEVELS = "its network denoises at noise levels of its own, which are no timesteps of betas"
FLOW = "it samples a rectified flow, x_t = (1 - sigma) x_0 + sigma eps"
_CONSISTENT = "its network maps x_t to x_0 through skip weights of its own (a consistency model)"
_INVERSE = "it turns images into noise"
_SHIFTED = "it shifts the signal-to-noise ratio of its betas for video"
_TOKENS = "it denoises discrete tokens"
# Kinds of schedulers that are not served, by the start of their names, and why.
OTHERS = {
    "Karras": _LEVELS,
    "ScoreSde": _LEVELS,
    "CosineDPMSolver": _LEVELS,
    "IPNDM": "its noise levels are those of a sine, not of betas",
    "FlowMap": "its network is told where a step ends, too (a flow map)",
    "FlowMatchLCM": "its network maps x_t to x_0 (a consistency model of a flow)",
    "Helios": FLOW,
    "LTXEuler": FLOW,
    "Piflow": FLOW,
    "MiniMax": FLOW,
    "CMStochastic": _CONSISTENT,
    "LCM": _CONSISTENT,
    "TCD": _CONSISTENT,
    "SCM": "its network predicts a trigonometric flow (sCM)",
    "DDIMInverse": _INVERSE,
    "DPMSolverMultistepInverse": _INVERSE,
    "CogVideoX": _SHIFTED,
    "RePaint": "it fills in parts of given images",
    "UnCLIP": "it samples a prior or decoder of CLIP embeddings",
    "DDPMWuerstchen": "its times are continuous, from 0 to 1",
    "VQDiffusion": _TOKENS,
    "Amused": _TOKENS,
    "DiscreteDDIM": _TOKENS,
    "BlockRefinement": _TOKENS,
    "EntropyBound": _TOKENS,
    "RFD4Proteina": "it samples proteins",
    "Flax": "it belongs to weights of Flax; save the pipeline with PyTorch",
}
# Fields that say on which noise levels the network was trained.
SCHEDULE = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
_BOUNDS = (
    "clip_sample",
    "clip_sample_range",
    "thresholding",
    "dynamic_thresholding_ratio",
    "sample_max_value",
)
_SHIFTS = {
    **refused(
        "the shift of its noise levels depends on the size of the image",
        False,
        None,
        names=("use_dynamic_shifting",),
    ),
    **refused("it moves the last noise level", None, names=("shift_terminal",)),
}
_CHOSEN = "bench chooses the timesteps and the solver itself"
FIELDS = {
    **used(*SCHEDULE, *_BOUNDS, "prediction_type", "predict_epsilon", "variance_type"),
    # What it means, `scheduler_config.is_continuous` says.
    **refused(_LEVELS, "discrete", "continuous", names=("timestep_type",)),
    **irrelevant(
        _CHOSEN,
        "timestep_spacing",
        "steps_offset",
        "set_alpha_to_one",
        "skip_prk_steps",
        "solver_order",
        "solver_type",
        "solver_p",
        "algorithm_type",
        "lower_order_final",
        "euler_at_final",
        "lambda_min_clipped",
        "final_sigmas_type",
        "interpolation_type",
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "use_lu_lambdas",
        "sigma_min",
        "sigma_max",
        "predict_x0",
        "disable_corrector",
        "predictor_order",
        "corrector_order",
        "tau_func",
        "noise_sampler_seed",
    ),
    **irrelevant("an array format of early versions", "tensor_format"),
    **irrelevant("it only shifts flow sigmas", "flow_shift", "time_shift_type"),
    **refused(FLOW, False, None, names=("use_flow_sigmas",)),
    **_SHIFTS,
    **refused("timesteps of its own", None, names=("timestep_values",)),
}
# Of those of betas, what decides levels of other kinds: sigmas told as they are, and flows.
CONTINUOUS = used(
    "use_flow_sigmas",
    "flow_shift",
    "sigma_min",
    "sigma_max",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
)
_EDM = {
    **used("sigma_min", "sigma_max", "sigma_data", "sigma_schedule", "rho"),
    **used("num_train_timesteps", "prediction_type"),
    **irrelevant(_CHOSEN, "final_sigmas_type"),
}
# Schedulers of EDM, and of flows, each with the use of its fields.
EDM = {
    "EDMEulerScheduler": _EDM,
    "EDMDPMSolverMultistepScheduler": {
        **_EDM,
        **used(*_BOUNDS[2:]),
        **irrelevant(
            _CHOSEN,
            "solver_order",
            "solver_type",
            "algorithm_type",
            "lower_order_final",
            "euler_at_final",
        ),
    },
}
_FLOW = used("num_train_timesteps", "shift")
FLOWS = {
    "FlowMatchHeunDiscreteScheduler": _FLOW,
    "FlowMatchEulerDiscreteScheduler": {
        **_FLOW,
        **_SHIFTS,
        **irrelevant(
            "only use_dynamic_shifting makes use of it",
            "base_shift",
            "max_shift",
            "base_image_seq_len",
            "max_image_seq_len",
            "time_shift_type",
        ),
        **irrelevant(
            _CHOSEN,
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "stochastic_sampling",
        ),
        **refused("its time runs from noise to images", False, None, names=("invert_sigmas",)),
    },
}
