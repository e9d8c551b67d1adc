/** Which of two gates asks more. */
import type { Gate } from './parse.ts';

/** Whether everything that passes `gate` would have passed `other` too. What cannot be told apart by a list counts as no. */
export function isAsStrict(gate: Gate, other: Gate): boolean {
  const { quorum, approvers, exclude, expiresMs, onExpiry, editable, escalate, ...rest } = gate;
  const { quorum: q, approvers: a, exclude: x, expiresMs: e, onExpiry: o, editable: w, escalate: s, ...others } = other;
  return (
    quorum >= q &&
    // nobody named: anybody
    (a.length === 0 || (approvers.length > 0 && approvers.every((each) => a.includes(each)))) &&
    x.every((each) => exclude.includes(each)) &&
    expiresMs <= e &&
    (onExpiry === o || onExpiry !== 'escalate') &&
    editable.every((each) => w.includes(each)) &&
    (escalate === undefined || JSON.stringify(escalate) === JSON.stringify(s)) &&
    JSON.stringify(rest) === JSON.stringify(others)
  );
}

/** The name of the stricter one; undefined where neither is, or one is not there. */
export function stricterGate(gates: ReadonlyMap<string, Gate>, name: string, other: string): string | undefined {
  if (name === other) return name;
  const [gate, beside] = [gates.get(name), gates.get(other)];
  if (gate === undefined || beside === undefined) return undefined;
  if (isAsStrict(gate, beside)) return name;
  return isAsStrict(beside, gate) ? other : undefined;
}
