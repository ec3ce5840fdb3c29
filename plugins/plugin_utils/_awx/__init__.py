# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AWX, told what a federation needs: control node only, no Ansible import.

`verbs.py` describes every playbook and its options, once. `surveys.py` asks for them. `objects.py` derives what AWX is
to hold for the parties of a document, and `forms.py` writes it down.
"""
