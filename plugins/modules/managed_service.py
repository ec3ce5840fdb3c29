#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: managed_service
short_description: Converge all services of a role on a host, each as a transaction
description:
  - Brings the files, secret files, systemd units, enablement and running processes of all of a role's services on a
    host to what the role describes, in one execution.
  - For each instance the role's template O(service) is rendered on the control node and gives the description of
    one service; then the templates it names are rendered, with the variables C(instance) and C(service).
  - A service is changed as a transaction. All is compared, staged and validated before anything is replaced; only
    what changed is restarted or reloaded; then its health is awaited. If that fails, the former files and units are
    put back and the former service is started again, and the task fails with the reason and the last lines of the
    journal. Other services stand.
  - Where of a unit nothing but limits changes, C(MemoryMax), C(MemoryHigh), C(MemoryLow), C(MemoryMin),
    C(MemorySwapMax), C(CPUQuota), C(CPUWeight), C(IOWeight) and C(TasksMax), systemd gives them to what runs, with no
    restart. A C(MemoryMax) that is less than what is in use now would end it, so that takes a restart, and a warning
    says so.
  - What a service was last healthy with is kept on the host, so a run that was cut off anywhere is finished by the
    next one.
  - Needs systemd 247 or later, and root.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  instances:
    description:
      - The instances of the role on this host. Each needs C(name), and may have C(federation) and C(state).
      - An instance with C(state=absent) is stopped, disabled and removed, with what owned.json says belongs to it;
        the role's templates are not rendered for it.
      - Their strings are data and are never templates.
    type: list
    elements: dict
    required: true
  service:
    description:
      - The role's template that gives the description of one service as YAML.
      - Every value in it must end in C(| to_json), so that strings stay strings; C(instance.name) and
        C(instance.federation) may stand bare.
      - "C(units): list of C(name) and C(template), the main unit first; or C(unit): a unit of the distribution,
        which is enabled, started and reloaded but never removed."
      - "C(type): V(service), or V(job) for what ends by itself; while a job's C(finished) file exists it is
        converged and isn't started again. C(state): V(started) or V(stopped)."
      - "C(files): list of C(path), one of C(template), C(content) and C(source) (a file on the control node),
        C(mode), C(owner), C(group), C(secret), C(validate), C(change), C(restore), C(keeps)."
      - "A file's C(validate) is a command as a list, with C(%s) for the staged copy. C(change) is V(restart),
        V(reload) or V(none). C(restore=false) marks a file whose former content is withdrawn and must not be put
        back. C(keeps) is a regular expression with one group: with O(restart=deferred), for each line that is new
        one of the file in place with the same group stays, marked by a comment. So a proxy leads to a port that
        changes for as long as something may answer there."
      - "C(validate): a command as a list, run once all files are in place and before anything is restarted or
        reloaded; not where nothing but limits of units changes."
      - "C(watch): list of C(path) and C(change); files and directories that something else writes."
      - "C(health): C(timeout) in seconds, C(restarts) (how many are borne while waiting) and C(checks), a list of
        C(http) (C(url), C(status), C(ca), C(certificate), C(key)), C(tcp) (C(address), C(port)) or C(command) (a
        list). A port of C(ports) has to be answered by the unit itself. Without checks its process has to say that
        it is ready (C(Type=notify)), or to stay up for five seconds."
      - "C(ports): list of C(address), C(port), C(protocol). C(data): list of paths.
        With C(own_data) a service is refused where something lies at one of them that it didn't make."
      - "Files below C(sysusers.d) and C(tmpfiles.d) are placed and applied before all others."
    type: str
    required: true
  restart:
    description:
      - With V(deferred), a service whose running process would be restarted is validated but left as it is, and
        named in RV(deferred). What keeps lines of its files is named in RV(kept). A later call with V(now) brings
        both to their end.
    type: str
    choices: [now, deferred]
    default: now
  plan:
    description: Only compare and report, as in check mode. What runs is asked once for its health, which isn't awaited.
    type: bool
    default: false
  remove_data:
    description: Also remove the data of instances with C(state=absent).
    type: bool
    default: false
  transient:
    description: Put units below C(/run/systemd/system) and don't enable them; a reboot ends them.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait for another run that works on this host.
    type: int
    default: 120
  payload:
    description: Set by the action plugin; what it rendered.
    type: str
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Reports what a run would change.
  diff_mode:
    support: full
    details: Shows what changes in files and units. The content of secret files is never shown.
  idempotent:
    support: full
    details: A second run changes nothing, not even a modification time.
notes:
  - The digest of each secret file is kept in C(/var/lib/fedlearn/<federation>/services/), readable by root only.
  - Drop-ins that an administrator laid are no drift; they are returned in C(overrides).
"""

EXAMPLES = r"""
- name: Converge the Redis instances
  fedlearn.infra.managed_service:
    instances: "{{ redis_instances }}"
    service: service.yml.j2

# templates/service.yml.j2
#   units:
#     - name: fedlearn-{{ instance.name }}.service
#       template: etc/systemd/system/redis.service.j2
#   files:
#     - path: {{ ('/etc/fedlearn/' ~ instance.federation ~ '/' ~ instance.name ~ '/redis.conf') | to_json }}
#       template: etc/fedlearn/redis.conf.j2
#   watch:
#     - {path: {{ instance.tls.certificate | to_json }}, change: restart}
#   health:
#     checks:
#       - tcp: {address: {{ instance.addresses[0] | to_json }}, port: {{ instance.port | to_json }}}
#   ports:
#     - {address: {{ instance.addresses[0] | to_json }}, port: {{ instance.port | to_json }}, protocol: tcp}

- name: Say what would change
  fedlearn.infra.managed_service:
    instances: "{{ redis_instances }}"
    service: service.yml.j2
    plan: true
  register: redis_plan
"""

RETURN = r"""
services:
  description: What became of each instance, by name.
  returned: always
  type: dict
  contains:
    changed: {description: Whether anything changed., type: bool}
    action:
      description: None, started, restarted, reloaded, stopped or removed; in check mode what would be done.
      type: str
    deferred: {description: Whether it was left for a later call., type: bool}
    kept: {description: Whether lines of its files were kept until a later call., type: bool}
    healthy: {description: Whether it runs and its checks passed; null where that was not asked., type: bool}
    pause:
      description: Seconds from the beginning of its restart until it was healthy again; 0 where it wasn't restarted.
      type: float
    rolled_back: {description: Whether the former state was put back., type: bool}
    reason: {description: Why it failed., type: str}
    journal:
      description: The last lines its units wrote when it failed. Secrets are masked.
      type: list
      elements: str
    overrides: {description: Drop-ins that change its units., type: list, elements: str}
    inside:
      description:
        - What its own command C(inside) says of what it holds, such as logins that aren't as they were made; empty
          where all is. By its C(inside_change), what is otherwise counts as drift, and the service is reloaded or
          restarted; with V(none) nothing is judged by it here, so that a role asks further only where there is reason
          to.
      type: str
    files: {description: Files that were or would be written or removed., type: list, elements: str}
told:
  description: What jobs that are done say of their end, by name; of those only that say anything.
  returned: always
  type: dict
deferred:
  description: The instances left for a later call.
  returned: always
  type: list
  elements: str
kept:
  description: The instances with lines in their files that were kept until a later call.
  returned: always
  type: list
  elements: str
unwell:
  description:
    - In check mode and with O(plan=true), how instances aren't as they are to be; M(fedlearn.infra.well) takes it.
    - One that is stopped or ill may also be differing, and is then there twice.
  returned: always
  type: list
  elements: dict
  contains:
    name: {description: The instance., type: str}
    state:
      description:
        - V(stopped), a unit that is to run isn't active; V(ill), it runs and its health checks fail.
        - V(differing), a run would change more than to start it. A process that is yet to be restarted is asked for
          the health it was last proven with. V(failed), it can't be compared.
      type: str
    reason: {description: "The unit's state, the check that failed, or what differs. Secrets are masked.", type: str}
"""

import base64
import json
import os
import traceback
import zlib

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.fedlearn.infra.plugins.module_utils._service import report, state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError
from ansible_collections.fedlearn.infra.plugins.module_utils._service.redact import Mask
from ansible_collections.fedlearn.infra.plugins.module_utils._service.removal import Removal
from ansible_collections.fedlearn.infra.plugins.module_utils._service.service import Options, Service
from ansible_collections.fedlearn.infra.plugins.module_utils._service.transaction import Transaction


def unpack(payload: str) -> dict:
    """What the action plugin sends: compressed JSON, in which contents that aren't UTF-8 are marked as base64."""
    sent = json.loads(zlib.decompress(base64.b64decode(payload)))
    for service in sent["services"]:
        for file in service["files"]:
            binary = file.pop("binary", None)
            if binary is not None:
                file["content"] = base64.b64decode(binary)
            elif file.get("content") is not None:
                file["content"] = file["content"].encode()
    return sent


def guarded(service: Service, step) -> None:
    """Runs one step of a service's transaction; a failure undoes this service and leaves the others alone."""
    if service.failed:
        return
    try:
        step()
    except Exception as error:  # also a mistake of ours must not leave a service half changed
        service.undo(explain(error))


def explain(error: Exception) -> str:
    if isinstance(error, ServiceError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__} in {os.path.basename(where.filename)}:{where.lineno}: {error}"


def refuse(service: Service, error: Exception) -> None:
    """Gives up on a service before anything of it was changed."""
    service.failed = True
    service.outcome.reason = explain(error) + "; nothing was changed"


def compare(services: list) -> None:
    shown = units.show(list(dict.fromkeys(name for service in services for name in service.unit_names)))
    wanted: dict = {}
    for service in services:
        try:
            for file in service.files:
                if wanted.setdefault(file.path, file.digest()) != file.digest():
                    raise ServiceError(f"{file.path}: another service of this role wants it otherwise")
            service.compare(shown)
        except (ServiceError, OSError) as error:
            refuse(service, error)


def refuse_held_ports(services: list) -> None:
    """Nothing is stopped to be started where it can't listen."""
    moving = {name for service in services if service.differs for name in service.unit_names}
    for service in services:
        if not (service.failed or service.absent):
            try:
                service.refuse_held_ports(moving)
            except ServiceError as error:
                refuse(service, error)


def defer(services: list) -> list:
    """Sets aside what would interrupt a running process; returns the rest."""
    rest = []
    for service in services:
        if service.failed or not service.interrupts:
            rest.append(service)
            continue
        service.outcome.deferred = True
        try:
            service.try_stage()
        except (ServiceError, OSError) as error:
            refuse(service, error)
    return rest


def converge(services: list) -> None:
    """Removals first, then files of all, one reload of systemd, starts side by side, restarts one by one."""
    for service in services:
        if service.absent and service.differs:
            guarded(service, service.withdraw)
    present = [service for service in services if not service.absent]
    changing = [service for service in present if service.differs]
    for service in changing:
        guarded(service, service.place)
    for service in changing:
        guarded(service, service.enable)
    if any((service.reload_manager or service.to_enable) and not service.failed for service in changing):
        units.reload_manager()
        state.point("reloaded")
    for service in changing:
        guarded(service, service.refuse_hidden_units)
    start_together(changing)
    told: set = set()
    for service in present:
        shared = (service.distribution, service.action)
        if shared in told:
            service.begin_acting()
        elif not service.acted:
            guarded(service, service.act)
        if service.distribution:
            told.add(shared)
        guarded(service, service.settle)


def start_together(services: list) -> None:
    """Starts what doesn't run; systemd starts them side by side. For jobs, which may take days, it doesn't wait."""
    starting = [one for one in services if not one.failed and one.action == "start"]
    for service in starting:
        service.begin_acting()
    for words in (["start"], ["--no-block", "start"]):
        those = [one for one in starting if (one.wanted["type"] == "job") == ("--no-block" in words)]
        names = list(dict.fromkeys(name for service in those for name in service.acting_units))
        if names:
            units.verb("reset-failed", *names)
            units.verb(*words, *names)
    for service in starting:
        state.point("acted", service.name)


def run(module: AnsibleModule, sent: dict, foresee: bool) -> dict:
    keeping = module.params["restart"] == "deferred" and not foresee
    options = Options(module.params["remove_data"], module.params["transient"], sent["uploads"], keeping)
    owned = {name: state.Owned(name) for name in sorted({service["federation"] for service in sent["services"]})}
    services = []
    for wanted in sent["services"]:
        kind = Removal if wanted["state"] == "absent" else Transaction
        services.append(kind(wanted, owned[wanted["federation"]], options))
    compare(services)
    for service in services:
        if service.warning:
            module.warn(f"{service.name}: {service.warning}")
    if not module.params["plan"]:  # which tells how things are, and that a service stands still says more
        refuse_held_ports(services)
    needed = sorted({digest for service in services if not service.failed for digest in service.missing_uploads})
    if needed and not foresee:
        return {"needed": needed, "changed": False}
    diff = report.diffs(services) if module._diff else None
    if foresee:
        report.foresee(services)
    else:
        converge(defer(services) if module.params["restart"] == "deferred" else services)
    report.look_inside(services)
    return report.result(services, diff, foresee)


def run_locked(module: AnsibleModule, sent: dict) -> dict:
    """One run at a time on a host; looking only needs no lock."""
    if module.check_mode or module.params["plan"]:
        return run(module, sent, True)
    with state.Lock(sent["who"], module.params["lock_timeout"], tell=module.warn):
        state.point("locked")
        return run(module, sent, False)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "instances": {"type": "list", "elements": "dict", "required": True},
            "service": {"type": "str", "required": True},
            "restart": {"type": "str", "choices": ["now", "deferred"], "default": "now"},
            "plan": {"type": "bool", "default": False},
            "remove_data": {"type": "bool", "default": False},
            "transient": {"type": "bool", "default": False},
            "lock_timeout": {"type": "int", "default": 120},
            "payload": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    if not module.params["payload"]:
        module.fail_json(msg="this module runs through its action plugin only")
    if os.geteuid() != 0:
        module.fail_json(msg="managed_service needs root on the host: set `become: true`", services={}, deferred=[])
    sent = unpack(module.params["payload"])
    try:
        result = run_locked(module, sent)
    except Exception as error:  # its text may hold what a secret file holds
        secrets = [
            file["content"] or b"" for service in sent["services"] for file in service["files"] if file["secret"]
        ]
        module.fail_json(msg=Mask(secrets)(explain(error)), services={}, deferred=[])
    if "msg" in result:
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
