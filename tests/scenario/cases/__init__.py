# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenarios: what must hold, one function each."""
