/**
 * Overlays: rules for one workflow or one channel, beside those for everybody. The decision is the stricter of the two, so an
 * overlay can deny, ask and narrow, whatever is in it, and allow nothing that is not allowed anyway.
 */
import { createDecider, type Decider, type ReadyRule } from './decide.ts';
import type { Reader } from './document.ts';
import { stricterGate } from './gates.ts';
import { matchesName } from './glob.ts';
import { DEFAULT_GATE_NAME, type Gate, type Overlay, type Rule } from './parse.ts';
import type { Decision, PolicyRequest } from './types.ts';

/** What would loosen can say nothing here, so whoever wrote it is told. */
export function lintOverlays(overlays: readonly Overlay[], base: readonly Rule[], gates: ReadonlyMap<string, Gate>, reader: Reader): void {
  const asked = new Map(base.filter(({ effect }) => effect === 'approve').map((rule) => [rule.gate ?? DEFAULT_GATE_NAME, rule]));
  for (const { rules, fallback } of overlays)
    for (const rule of rules) {
      if (rule.effect === 'allow' && fallback === 'inherit')
        reader.add(
          'error',
          rule,
          'an overlay only tightens, so that it allows something says nothing: give the overlay default: deny or approve, and allow what is left',
        );
      const gate = rule.gate ?? DEFAULT_GATE_NAME;
      if (rule.effect !== 'approve' || !gates.has(gate)) continue;
      for (const [other, { id, kind }] of asked)
        if (kind === rule.kind && gates.has(other) && stricterGate(gates, gate, other) === undefined)
          reader.add(
            'warning',
            rule,
            `of the gates ${gate} and ${other} neither is the stricter: where rule ${id} asks too, the request is denied`,
          );
    }
}

interface ReadyOverlay extends Pick<Overlay, 'of' | 'match' | 'fallback'> {
  readonly rules: readonly ReadyRule[];
}

export function createOverlaid(base: Decider, overlays: readonly ReadyOverlay[], gates: ReadonlyMap<string, Gate>): Decider {
  if (overlays.length === 0) return base;
  const ready = overlays.map((overlay) => ({
    ...overlay,
    decider: createDecider(overlay.rules, overlay.fallback === 'approve' ? 'approve' : 'deny'),
  }));
  const applying = (request: PolicyRequest) => ready.filter((overlay) => covers(overlay, request));
  const decide = (request: PolicyRequest): Decision =>
    applying(request).reduce((before, { decider, fallback }) => {
      const decision = decider.decide(request);
      const silent = decision.rule === null && fallback === 'inherit';
      const joined = silent ? before : stricter(before, decision, gates);
      return { ...joined, shadow: [...before.shadow, ...decision.shadow], errors: [...before.errors, ...decision.errors] };
    }, base.decide(request));
  return {
    decide,
    explain: (request) => ({
      decision: decide(request),
      rules: [
        ...base.explain(request).rules,
        ...applying(request).flatMap(({ decider, of, match }) =>
          decider
            .explain(request)
            .rules.map((rule) => ({ ...rule, clauses: [{ clause: `overlay of ${of} ${match}`, result: true }, ...rule.clauses] })),
        ),
      ],
    }),
  };
}

function covers({ of, match }: Pick<Overlay, 'of' | 'match'>, { workflow, thread }: PolicyRequest): boolean {
  if (of === 'workflow') return workflow !== undefined && matchesName(match, workflow);
  return thread !== undefined && (matchesName(match, thread) || matchesName(`${match}:*`, thread));
}

const RANK = { allow: 0, approve: 1, deny: 2 } as const;

/** Never less than `base`. */
function stricter(base: Decision, over: Decision, gates: ReadonlyMap<string, Gate>): Decision {
  if (RANK[over.effect] < RANK[base.effect] || base.effect === 'deny') return base;
  if (over.effect === 'deny') return over;
  if (over.effect === 'allow') return { ...base, limits: [...base.limits, ...over.limits] };
  // a limit of the base that is used up would ask at its gate: so that one is asked for in any case
  const wanted = [base.gate, ...base.limits.map(({ gate }) => gate)].filter((gate) => gate !== undefined);
  let gate: string | undefined = over.gate ?? DEFAULT_GATE_NAME;
  for (const other of wanted) gate = gate === undefined ? undefined : stricterGate(gates, gate, other);
  const { gate: _, ...denied } = over;
  if (gate === undefined)
    return {
      ...denied,
      effect: 'deny',
      limits: [],
      message: `a person would have to approve this at gates of which neither is the stricter: ${[...new Set([...wanted, over.gate])].join(', ')}`,
    };
  const named = base.effect === 'approve' && gate === base.gate ? base : over;
  return { ...named, gate, limits: [] };
}
