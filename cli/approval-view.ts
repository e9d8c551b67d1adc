/** Approvals as people read them: in a list, and one of them whole. Lines fit into 80 columns where the words allow it. */
import type { ApprovalView } from '@centaur/kernel/policy';
import type { ApprovalForYou } from './api.ts';
import { clock, fields, paint, printable, relative, status } from './output.ts';

const WIDTH = 76;

/** Two lines: which one and how it stands, and what is asked for. */
export function approvalLines(each: ApprovalView): string {
  const votes = each.state === 'pending' ? `${each.approvals}/${each.quorum} votes` : '';
  const time = each.state === 'pending' ? `over ${relative(each.expires_at)}` : (each.decided_by ?? '');
  const head = [paint('bold', each.approval_id), status(each.state), votes, time, each.overridden ? paint('red', 'overridden') : ''];
  const who = `${each.principal}, gate ${each.gate}`;
  return `${head.filter((part) => part !== '').join('  ')}\n  ${askText(each, WIDTH)}\n  ${paint('dim', cut(printable(who), WIDTH))}`;
}

/** `POST https://api.stripe.com:443/v1/refunds`, or `claude.Bash {"command":"rm -r build"}`. */
export function askText(approval: ApprovalView, width = Number.POSITIVE_INFINITY): string {
  return cut(printable(wordsOf(approval)), width);
}

function wordsOf({ summary }: ApprovalView): string {
  const { method, url, tool, input, policy, author, summary: words, args = null } = (summary ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof method === 'string' && typeof url === 'string') return `${method} ${url}`;
  if (typeof tool === 'string' && typeof input === 'string') return `${tool} ${input}`;
  if (typeof policy === 'string') return typeof author === 'string' ? `${policy} of a text by ${author}` : policy;
  if (typeof words !== 'string') return JSON.stringify(summary);
  return [words, ...(typeof tool === 'string' ? [tool] : []), ...(args === null ? [] : [JSON.stringify(args)])].join(' ');
}

export function approvalText(approval: ApprovalForYou): string {
  const {
    secrets,
    bytes,
    user,
    tool,
    policy,
    summary: words,
    workflow,
    step,
  } = (approval.summary ?? {}) as {
    readonly secrets?: readonly string[];
    readonly bytes?: number;
    readonly user?: string;
    readonly tool?: unknown;
    readonly policy?: unknown;
    readonly summary?: unknown;
    readonly workflow?: string;
    readonly step?: string;
  };
  const isQuestion = typeof words === 'string';
  const short = typeof policy === 'string' ? policy : isQuestion ? words : approval.args === null ? undefined : tool;
  const title = typeof short === 'string' ? printable(short) : askText(approval);
  const isOpen = approval.state === 'pending';
  const all = fields(`${paint('bold', title)} ${status(approval.state)}${approval.overridden ? ` ${paint('red', 'overridden')}` : ''}`, {
    approval: approval.approval_id,
    'asked by': isQuestion ? `step ${step} of ${workflow}` : '',
    'to do': isQuestion && typeof tool === 'string' ? tool : '',
    principal: approval.principal,
    secrets: secrets?.join(', ') ?? '',
    bytes: bytes === undefined ? '' : String(bytes),
    risk: approval.risk ?? '',
    thread: approval.thread_key ?? '',
    user: user ?? '',
    gate: `${approval.gate}, by rule ${approval.rule}`,
    'asks for': isOpen ? `${approval.quorum} of ${approval.approvers.join(', ')}` : '',
    'not by': isOpen ? excluded(approval) : '',
    you: approval.you === null || !isOpen ? '' : approval.you.may_vote ? 'may vote' : `may not vote: ${approval.you.why_not}`,
    editable: isOpen ? approval.editable.join(', ') : '',
    lease: approval.lease_id ?? '',
    run: approval.run_id ?? '',
    asked: `${clock(approval.created_at)} (${relative(approval.created_at)})${approval.asked > 1 ? `, ${approval.asked} times` : ''}`,
    'more asked': isOpen && approval.escalate_at !== null ? `${clock(approval.escalate_at)} (${relative(approval.escalate_at)})` : '',
    over: isOpen ? `${clock(approval.expires_at)} (${relative(approval.expires_at)})` : '',
    decided: approval.decided_at === null ? '' : `${clock(approval.decided_at)} by ${approval.decided_by}`,
    reason: approval.reason ?? '',
    'use by': approval.state === 'approved' && approval.use_by !== null ? `${clock(approval.use_by)} (${relative(approval.use_by)})` : '',
    used: approval.consumed_at === null ? '' : clock(approval.consumed_at),
    digest: approval.digest,
    audit: [approval.audit_id, approval.decided_audit_id].filter((each) => each !== null).join(', '),
  });
  return [all, ...policyLines(approval), ...argumentLines(approval), ...voteLines(approval)].join('\n');
}

/** Who has a part in it, of those whom the gate excludes. */
function excluded({ exclude, involved }: ApprovalForYou): string {
  return exclude
    .map((part) => {
      const people = involved[part as keyof typeof involved];
      return people === undefined || people.length === 0 ? part : `${part} (${people.join(', ')})`;
    })
    .join(', ');
}

/** What a policy's text changes; where that cannot be said, the text, to its end. */
function policyLines({ summary, policy_diff: changes }: ApprovalForYou): string[] {
  const { policy, text, message, author, before, after } = (summary ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof policy !== 'string' || typeof text !== 'string') return [];
  const head = Object.entries({ message, author, before, after }).filter(([, value]) => typeof value === 'string');
  const colours = { '+': 'green', '-': 'red', '@': 'cyan' } as const;
  return [
    ...head.map(([name, value]) => `${paint('bold', name)} ${printable(String(value))}`),
    ...(changes === null
      ? [paint('bold', 'text'), ...text.split('\n').map((line) => `  ${printable(line)}`)]
      : [
          `${paint('bold', 'changes')} ${paint('dim', '(with --json, the whole text)')}`,
          ...changes.split('\n').map((line) => {
            const colour = colours[line[0] as keyof typeof colours];
            return `  ${colour === undefined ? printable(line) : paint(colour, printable(line))}`;
          }),
        ]),
  ];
}

function argumentLines({ args, edited_args, edited_by, changed }: ApprovalForYou): string[] {
  if (args === null || args === undefined) return [];
  const shown = (value: unknown) =>
    JSON.stringify(value, null, 2)
      .split('\n')
      .map((line) => `  ${printable(line)}`);
  if (edited_args === null || edited_args === undefined) return [paint('bold', 'arguments'), ...shown(args)];
  return [
    paint('bold', `arguments, edited by ${printable(edited_by ?? '')}: ${printable(changed.join(', '))}`),
    ...shown(edited_args),
    paint('dim', 'as they were asked with'),
    ...shown(args),
  ];
}

function voteLines({ votes, approvals, quorum }: ApprovalForYou): string[] {
  if (votes.length === 0) return [];
  return [
    paint('bold', `votes: ${approvals} of ${quorum}`),
    ...votes.map(({ voter, verdict, counts, reason, channel, at }) => {
      const remark = counts ? '' : ' (before it was edited, or asked for by them: does not count)';
      return `  ${printable(voter)}  ${verdict}  ${clock(at)} by ${channel}${remark}${reason === null ? '' : `: ${printable(reason)}`}`;
    }),
  ];
}

const cut = (text: string, width: number): string => (text.length > width ? `${text.slice(0, width - 1)}…` : text);
