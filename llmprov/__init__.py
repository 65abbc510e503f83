"""llmprov: from bare GPU servers to a resilient LLM service, without internet on the servers."""

__version__ = "0.1.0.dev0"
