/** Requests that wait for a person. */
import { type Command, Option } from 'commander';
import type { ApprovalState, ApprovalView } from '@centaur/kernel/policy';
import { connect } from '../api.ts';
import { examples, wholeNumber, withJson } from '../arguments.ts';
import { clock, fields, note, paint, print, printable, printJson, relative, status, table } from '../output.ts';

const STATES: readonly ApprovalState[] = ['pending', 'approved', 'denied', 'expired', 'consumed'];
const EXAMPLE = '0198c0de-0000-7000-8000-000000000000';

export function addApprovals(program: Command): void {
  const approvals = program.command('approvals').description('Look at requests that wait for a person, and decide them.');
  examples(approvals, 'centaur approvals ls', `centaur approvals approve ${EXAMPLE} --reason "the refund of ticket 4711"`);

  const ls = approvals
    .command('ls')
    .description('List requests that wait for a person, newest first.')
    .addOption(new Option('--state <state>', 'those in this state instead').choices(STATES).default('pending'))
    .option('--all', 'those in any state')
    .option('--limit <number>', 'how many, 1 to 200', wholeNumber(1, 200), 20)
    .option('--after <cursor>', 'go on after this page’s "next"')
    .action(list);
  examples(withJson(ls), 'centaur approvals ls', 'centaur approvals ls --all');

  const show = approvals
    .command('show')
    .description('Show what is asked for, and what was decided.')
    .argument('<approval>', 'id of the approval')
    .action(async (approvalId: string, options: { readonly json?: true }) => {
      const approval = await connect().getApproval(approvalId);
      if (options.json) printJson(approval);
      else print(approvalText(approval));
    });
  examples(withJson(show), `centaur approvals show ${EXAMPLE}`);

  const approve = approvals
    .command('approve')
    .description('Let the request through, once.')
    .argument('<approval>', 'id of the approval')
    .option('--reason <text>', 'for the audit log')
    .action((approvalId: string, options: Decision) => decide(approvalId, 'approve', options));
  examples(withJson(approve), `centaur approvals approve ${EXAMPLE}`);

  const deny = approvals
    .command('deny')
    .description('Refuse the request.')
    .argument('<approval>', 'id of the approval')
    .requiredOption('--reason <text>', 'why: the agent is told')
    .action((approvalId: string, options: Decision) => decide(approvalId, 'deny', options));
  examples(withJson(deny), `centaur approvals deny ${EXAMPLE} --reason "over this month's limit"`);
}

interface Decision {
  readonly reason?: string;
  readonly json?: true;
}

async function decide(approvalId: string, decision: 'approve' | 'deny', options: Decision): Promise<void> {
  const decided = await connect().decideApproval(approvalId, decision, options.reason);
  if (options.json) printJson(decided);
  else print(`${decided.state} ${decided.approval_id}: ${askText(decided)}`);
}

async function list(options: {
  readonly state: ApprovalState;
  readonly all?: true;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}): Promise<void> {
  const page = await connect().listApprovals({
    state: options.all ? undefined : options.state,
    limit: options.limit,
    after: options.after,
  });
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note(options.all ? 'no approvals' : `no approvals are ${options.state}`);
  const rows = page.items.map((each) => [
    each.approval_id,
    status(each.state),
    each.principal,
    askText(each, ASK_WIDTH),
    each.gate,
    relative(each.created_at),
    each.state === 'pending' ? relative(each.expires_at) : '-',
  ]);
  print(table(['APPROVAL', 'STATE', 'PRINCIPAL', 'ASKS FOR', 'GATE', 'CREATED', 'EXPIRES'], rows));
  if (page.next !== null) note(paint('dim', `more: --after ${page.next}`, process.stderr));
}

/** `POST https://api.stripe.com:443/v1/refunds`, or `claude.Bash {"command":"rm -r build"}`. */
function askText({ summary }: ApprovalView, width = Number.POSITIVE_INFINITY): string {
  const { method, url, tool, input } = (summary ?? {}) as { readonly [field: string]: unknown };
  const text =
    typeof method === 'string' && typeof url === 'string'
      ? `${method} ${url}`
      : typeof tool === 'string' && typeof input === 'string'
        ? `${tool} ${input}`
        : JSON.stringify(summary);
  return printable(text.length > width ? `${text.slice(0, width)}…` : text);
}

/** Of what is asked for, in a list. */
const ASK_WIDTH = 100;

function approvalText(approval: ApprovalView): string {
  const { secrets, bytes, risk, thread, user } = (approval.summary ?? {}) as {
    readonly secrets?: readonly string[];
    readonly bytes?: number;
    readonly risk?: string;
    readonly thread?: string;
    readonly user?: string;
  };
  return fields(`${paint('bold', askText(approval))} ${status(approval.state)}`, {
    approval: approval.approval_id,
    principal: approval.principal,
    secrets: secrets?.join(', ') ?? '',
    bytes: bytes === undefined ? '' : String(bytes),
    risk: risk ?? '',
    thread: thread ?? '',
    user: user === undefined ? '' : printable(user),
    gate: `${approval.gate}, by rule ${approval.rule}`,
    lease: approval.lease_id ?? '',
    run: approval.run_id ?? '',
    created: `${clock(approval.created_at)} (${relative(approval.created_at)})`,
    expires: approval.state === 'pending' ? `${clock(approval.expires_at)} (${relative(approval.expires_at)})` : '',
    decided: approval.decided_at === null ? '' : `${clock(approval.decided_at)} by ${approval.decided_by}`,
    reason: approval.reason ?? '',
    used: approval.consumed_at === null ? '' : clock(approval.consumed_at),
    digest: approval.digest,
    audit: [approval.audit_id, approval.decided_audit_id].filter((each) => each !== null).join(', '),
  });
}
