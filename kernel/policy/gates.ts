/** Which of two gates asks more. */
import type { Gate } from './parse.ts';
import { approversOf } from './people.ts';

/** What of two gates is compared in each way. A key that comes later is not among them, and has to be the same in both. */
const COMPARED = ['quorum', 'approvers', 'exclude', 'expiresMs', 'onExpiry', 'editable', 'escalate', 'useByMs', 'pendingMost'];

/** Whether everything that passes `gate` would have passed `other` too. What cannot be told apart by a list counts as no. */
export function isAsStrict(gate: Gate, other: Gate): boolean {
  const isAmong = (some: readonly string[], all: readonly string[]) => some.every((each) => all.includes(each));
  return (
    gate.quorum >= other.quorum &&
    isAmong(approversOf(gate, 'as asked'), approversOf(other, 'as asked')) &&
    isAmong(approversOf(gate, 'escalated'), approversOf(other, 'escalated')) &&
    isAmong(other.exclude, gate.exclude) &&
    gate.expiresMs <= other.expiresMs &&
    gate.useByMs <= other.useByMs &&
    gate.pendingMost <= other.pendingMost &&
    isAmong(gate.editable, other.editable) &&
    // others are asked when the time is up: earlier is no stricter
    (gate.onExpiry !== 'escalate' || (other.onExpiry === 'escalate' && gate.expiresMs === other.expiresMs)) &&
    (gate.escalate === undefined || JSON.stringify(gate.escalate) === JSON.stringify(other.escalate)) &&
    rest(gate) === rest(other)
  );
}

const rest = (gate: Gate): string => JSON.stringify(Object.entries(gate).filter(([key]) => !COMPARED.includes(key)));

/** The name of the stricter one; undefined where neither is, or one is not there. */
export function stricterGate(gates: ReadonlyMap<string, Gate>, name: string, other: string): string | undefined {
  if (name === other) return name;
  const [gate, beside] = [gates.get(name), gates.get(other)];
  if (gate === undefined || beside === undefined) return undefined;
  if (isAsStrict(gate, beside)) return name;
  return isAsStrict(beside, gate) ? other : undefined;
}
