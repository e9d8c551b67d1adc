/** What is wrong with rules that read well one by one. */
import type { Reader } from './document.ts';
import { hostMatcher, nameMatcher } from './glob.ts';
import { lintOverlays } from './overlay.ts';
import type { PolicyDocument, Rule } from './parse.ts';

const RANK = { deny: 3, approve: 2, allow: 1 };

/** @param tools names of the tools there are, when they are known */
export function lint({ rules, overlays, gates, tests }: PolicyDocument, reader: Reader, tools: readonly string[] | undefined): void {
  const seen = new Map<string, Rule>();
  for (const rule of [...rules, ...overlays.flatMap((overlay) => overlay.rules)]) {
    const first = seen.get(rule.id);
    if (first !== undefined) reader.add('error', rule, `the id is also that of the rule on line ${first.line}`);
    else seen.set(rule.id, rule);
    if (rule.gate !== undefined && !gates.has(rule.gate)) reader.add('error', rule, `there is no gate ${JSON.stringify(rule.gate)}`);
    // what an overlay allows is only what is allowed anyway
    if (rules.includes(rule) && rule.effect === 'allow' && rule.when === undefined && rule.targets.some((target) => /^\*+$/.test(target)))
      reader.add('error', rule, `it allows every ${rule.kind === 'tool' ? 'tool' : 'host'}: say when`);
    if (tools !== undefined && rule.kind === 'tool')
      for (const target of rule.targets) if (!tools.some(nameMatcher(target))) reader.add('warning', rule, `no tool is called ${target}`);
  }
  for (const [at, rule] of rules.entries()) {
    const cause = rules.find((other, otherAt) => other !== rule && shadows(other, rule, otherAt < at));
    if (cause !== undefined) reader.add('warning', rule, `it never decides: rule ${cause.id} on line ${cause.line} always does before it`);
  }
  lintOverlays(overlays, rules, gates, reader);
  for (const { rule, line } of tests)
    if (rule !== undefined && !seen.has(rule)) reader.add('error', { id: rule, line }, 'a test names it, but there is no such rule');
}

/** Whether all that `rule` matches is decided by `other`. */
function shadows(other: Rule, rule: Rule, comesFirst: boolean): boolean {
  if (
    other.kind !== rule.kind ||
    other.mode === 'shadow' ||
    rule.mode === 'shadow' ||
    other.when !== undefined ||
    other.limit !== undefined
  )
    return false;
  const wins = RANK[other.effect] > RANK[rule.effect] || (other.effect === rule.effect && comesFirst && rule.limit === undefined);
  return (
    wins &&
    rule.targets.every((target) => other.targets.some((wider) => (rule.kind === 'egress' ? hostMatcher : nameMatcher)(wider)(target))) &&
    covers(other.agent, rule.agent) &&
    covers(other.principal, rule.principal) &&
    includes(other.methods, rule.methods) &&
    includes(other.paths, rule.paths)
  );
}

/** A pattern that matches another one's text, stars and all, matches all that the other one does. */
function covers(wider: string, narrower: string): boolean {
  return wider === '*' || nameMatcher(wider)(narrower);
}

function includes(wider: readonly string[], narrower: readonly string[]): boolean {
  return wider.length === 0 || (narrower.length > 0 && narrower.every((each) => wider.includes(each)));
}
