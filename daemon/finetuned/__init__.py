"""On-device personalization: Core ML's update task, on any Linux machine.

The public face: Apple's names, for scripts and plugins, each imported when it is first used.
"""

from __future__ import annotations

__version__ = "0.1.0"
