"""All checks together, and the verdict with its words."""

from __future__ import annotations

from collections.abc import Sequence

from backupchaos.checks import unmet
from backupchaos.checks.beside import beside
from backupchaos.checks.case import JOB, Case
from backupchaos.checks.laws import LAWS, describe_restore
from backupchaos.checks.rows import row
from backupchaos.checks.stored import stored
from backupchaos.checks.table import TABLE
from backupchaos.checks.tiers import tiers
from backupchaos.results import CheckResult, Evidence, FaultResult, Verdict

GRAVITY = ("honest", "no_collateral", "recoverable", "bounded", "loud")
"""What a headline names first, when several things are wrong."""
ORDER = (Verdict.INVALID, Verdict.FAIL, Verdict.UNVERIFIED)


def evaluate(case: Case) -> list[CheckResult]:
    """Every row. A check that crashes gives an ``unverified`` row, never silence."""
    rows: list[CheckResult] = list(_fault_rows(case))
    for check in (*LAWS, stored, tiers, beside, *TABLE):
        try:
            rows += check(case)
        except Exception as error:
            rows.append(
                row(
                    check.__name__,
                    check.__name__.replace("_", " "),
                    "an evaluated check",
                    f"the check crashed: {type(error).__name__}: {error}",
                    None,
                    reason="a defect of the harness",
                )
            )
    return [result for result in rows if result.law not in case.scenario.waive]


def _fault_rows(case: Case) -> list[CheckResult]:
    """A fault that did not bite, or that could not be undone, makes the run invalid."""
    rows = []
    for fault in case.faults():
        linked = fault.layer in {"network", "service"} and case.scenario.services
        title = f"fault {fault.name} ({fault.kind}{f' on the {fault.place}' if linked else ''}) bit"
        proof = "; ".join(item.text for item in fault.proof)
        if fault.bit and fault.undone:
            rows.append(
                CheckResult(
                    f"bite.{fault.name}",
                    title,
                    "proof that it bit",
                    proof,
                    Verdict.PASS,
                    evidence=fault.proof,
                )
            )
            continue
        seen, reason = _why_not(fault)
        rows.append(
            CheckResult(
                f"bite.{fault.name}", title, "proof that it bit", seen, Verdict.INVALID, reason=reason
            )
        )
    return rows


def _why_not(fault: FaultResult) -> tuple[str, str]:
    """What is to be seen, and what may be done about it."""
    if fault.started is None:
        return f"its trigger ({fault.trigger}) never came", "choose one that this job comes to"
    if not fault.bit:
        return "applied, but nothing shows that the job met it", unmet.advice(fault.kind)
    return "could not be undone", "see the history"


def overall(rows: Sequence[CheckResult]) -> Verdict:
    """Invalid before fail before unverified; no rows at all is unverified, never green."""
    if not rows:
        return Verdict.UNVERIFIED
    return next((v for v in ORDER if any(r.verdict is v for r in rows)), Verdict.PASS)


def severity(case: Case, rows: Sequence[CheckResult]) -> str:
    """The worst kind of failure among the rows."""
    failed = [result for result in rows if result.verdict is Verdict.FAIL]
    ids = {result.id for result in failed}
    if ids & {"honest", "honest.recovered"}:
        claimed = case.restore("newest" if "honest" in ids else "recovered")
        only_extra = claimed is not None and claimed.performed and not (claimed.different or claimed.missing)
        return "misleading" if only_extra and claimed is not None and claimed.returncode == 0 else "data_loss"
    laws = {result.law for result in failed}
    for broken, word in (
        ("source" in ids or "no_collateral" in laws, "damage"),
        (
            any(i in {"honest.listed", "honest.stored"} or i.startswith("honest.tier.") for i in ids),
            "misleading",
        ),
        ("recoverable" in laws, "wedged"),
        ("bounded" in laws, "hang"),
        ("loud" in laws, "silent"),
    ):
        if broken:
            return word
    return "expectation" if failed else "none"


def _gravity(result: CheckResult) -> int:
    """Broken laws by weight, then the outcome, then the rest as they come."""
    if result.law in GRAVITY:
        return GRAVITY.index(result.law)
    return len(GRAVITY) + (result.id != "outcome")


def words(case: Case, target: str, verdict: Verdict, rows: Sequence[CheckResult]) -> tuple[str, str]:
    """(headline, one paragraph) for people."""
    scenario = case.scenario.scenario
    bad = [result for result in rows if result.verdict is verdict]
    job = case.job(JOB)
    claim = "never ended" if job is None else f"said {job.outcome} (exit {job.returncode})"
    bad.sort(key=_gravity)
    first = bad[0] if bad else None
    kind = severity(case, rows)
    headline = f"{target} × {scenario}: {verdict.value.upper()}"
    if verdict is Verdict.PASS:
        headline += f" — the job {claim}, and everything held"
    elif kind == "data_loss" and verdict is Verdict.FAIL:
        newest = case.restore("newest")
        loss = describe_restore(newest) if newest else "nothing can be restored"
        headline += f" — SILENT DATA LOSS: the job {claim}, but: {loss}"
    elif first is not None:
        headline += f" — {first.title}: expected {first.expected}; {first.observed}"
    because = "; ".join(
        f"{fault.name} ({fault.kind}): " + ("; ".join(e.text for e in fault.proof) or _why_not(fault)[0])
        for fault in case.faults()
    )
    restores = "; ".join(
        f"{which}: {describe_restore(restore)}"
        for which in ("newest", "unclaimed", "mirror", "older", "recovered")
        if (restore := case.restore(which)) is not None
    )
    paragraph = f"{case.scenario.title}. The job {claim}."
    if because:
        paragraph += f" Because: {because}."
    if restores:
        paragraph += f" Restores — {restores}."
    for result in bad[:4]:
        if verdict is not Verdict.PASS:
            paragraph += f" {result.title}: expected {result.expected}, observed {result.observed}."
    return headline, paragraph


def proof(text: str, t: float | None = None) -> Evidence:
    """A piece of evidence without a place in the history."""
    return Evidence(text, t=t)
