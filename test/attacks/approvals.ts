/** Approvals, and the people who decide them. */
import { castVote, publishPolicy } from '../../kernel/policy/index.ts';
import { person } from '../support/people.ts';
import { eventually } from '../support/wait.ts';
import type { Scene } from './support.ts';

/** Requests to localhost have this effect from the moment on when it resolves. */
export async function publish(scene: Scene, effect: 'approve' | 'allow' | 'deny', rest = ''): Promise<void> {
  await publishText(scene, `version: 1\ndefault: deny\nrules:\n  - id: all\n    host: localhost\n    effect: ${effect}\n${rest}`);
}

export async function publishText(scene: Scene, text: string): Promise<void> {
  const { version } = await publishPolicy({ store: scene.t.store, audit: scene.t.installation.audit }, 'test', { text });
  await inForce(scene, version);
}

export async function inForce(scene: Scene, version: number): Promise<void> {
  await eventually(async () => {
    const { rows } = await scene.t.store.query<{ policy_version: number | null }>('select policy_version from firewall_processes');
    return rows[0]?.policy_version === version;
  });
}

/** Of the newest one that waits. */
export async function pendingApproval(scene: Scene): Promise<string> {
  return eventually(async () => {
    const { rows } = await scene.t.store.query<{ approval_id: string }>(
      `select approval_id from approvals where state = 'pending' order by approval_id desc limit 1`,
    );
    return rows[0]?.approval_id;
  });
}

export async function decide(scene: Scene, approvalId: string, state: 'approved' | 'denied', reason = 'no'): Promise<void> {
  const verdict = state === 'approved' ? 'approve' : 'deny';
  await castVote({ store: scene.t.store, audit: scene.t.installation.audit }, person('boss'), approvalId, {
    verdict,
    reason,
    channel: 'api',
  });
}
