# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A double of the library dc_federated: a stand-in for tests, on machines that don't have it. It is not the library.

It answers as the library does (constructor, paths, signatures, long poll, files); tests/upstream compares the two.
"""

DOUBLE = True
