# SPDX-License-Identifier: GPL-3.0-or-later
"""The test house: real servers, real file systems, generated trees, an independent comparer."""
