"""What a vLLM server counts of itself."""

import re
import urllib.request


def counted(url: str, name: str) -> float:
    """The sum of one counter, such as `prefix_cache_hits`, since the server started."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
        text = response.read().decode()
    return sum(map(float, re.findall(rf"^vllm:{name}(?:_total)?\{{[^}}]*\}} ([\d.e+]+)$", text, re.M)))
