/** Commands for the platform: a comment that says `stop` after the mention, and the like. Who may ask may give them. */
import type { Client, InputPart, MessageView } from '@centaur/sdk';
import { type Control, isCode } from '../../chat/index.ts';
import { type GitHubContext, PLATFORM, threadKeyOf, userIdOf } from '../context.ts';
import type { Heard } from '../heard.ts';
import { react } from '../places.ts';
import { deliveryOf, describeAsked, executeIdOf } from './asked.ts';
import { againOf, findAsked, knownThread, lastExecution, openExecutions } from './known.ts';
import { type Circumstances, say } from './say.ts';

export async function control(context: GitHubContext, heard: Heard, command: Control, circumstances: Circumstances): Promise<void> {
  const answer = (text: string) => say(context, heard, text, circumstances);
  const done = () => react(context, heard, heard, '+1', circumstances.signal);
  switch (command.kind) {
    case 'stop':
      return (await stop(context, heard)) ? done() : answer('Nothing runs here.');
    case 'release':
      return (await release(context, heard)) ? done() : answer('There is nothing to release here.');
    case 'status':
      return answer(await describeStatus(context, heard));
    case 'help':
      return answer(helpText(context.self.name));
    case 'retry':
      return (await retry(context, heard))
        ? react(context, heard, heard, 'eyes', circumstances.signal)
        : answer('There is nothing to try again: nothing that was asked here has failed last.');
    case 'whoami':
      return answer(await describeAsker(context, heard));
    case 'link':
      // everybody reads comments, and a code is good for whoever says it first
      return answer(
        'Codes are not taken on GitHub, where others can read them: let this one expire. An admin links accounts with ' +
          `\`centaur users link github ${heard.author.login.toLowerCase()} --user <name>\`.`,
      );
  }
}

async function stop({ api }: GitHubContext, heard: Heard): Promise<boolean> {
  const open = await openExecutions(api, threadKeyOf(heard));
  // those that wait first: else the next one begins
  for (const { execution_id: id } of open.toReversed()) await api.threads.cancel(id);
  return open.length > 0;
}

async function release({ api }: GitHubContext, heard: Heard): Promise<boolean> {
  const threadKey = threadKeyOf(heard);
  const known = await knownThread(api, threadKey);
  if (known === undefined || known.assignment_generation === null) return false;
  await api.threads.release(threadKey, { releaseId: executeIdOf(heard), cancelInflight: true });
  return true;
}

/**
 * What was asked last is asked once more, in the same words. That it is asked again is theirs who want it now; what was said stays with whoever said it:
 * what others wrote must not be done in the name of who asks again. What was brought in somebody's name without a word for it comes back as nobody's.
 */
async function retry({ api, settings }: GitHubContext, heard: Heard): Promise<boolean> {
  const threadKey = threadKeyOf(heard);
  const executeId = executeIdOf(heard);
  const last = await lastExecution(api, threadKey);
  if (last === undefined) return false;
  // of an attempt before
  if (last.execute_id === executeId) return true;
  if (last.status !== 'failed_permanent' && last.status !== 'cancelled') return false;
  const asked = await findAsked(api, threadKey, last);
  if (asked === undefined) return false;
  await sayAgain(api, threadKey, asked, againOf(executeId));
  await api.threads.send(threadKey, describeAsked(heard, 'Answer once more what was asked last.'), {
    executeId,
    userId: userIdOf(settings.host, heard.author.login),
    delivery: deliveryOf(heard),
    ...(last.model === null ? {} : { model: last.model }),
  });
  return true;
}

async function sayAgain(
  api: Client,
  threadKey: string,
  { parts, user_id: userId, vouched }: MessageView,
  messageId: string,
): Promise<void> {
  const { assignment_generation: assignmentGeneration } = await api.threads.spawn(threadKey);
  const options = { assignmentGeneration, messageId, ...(userId === null || !vouched ? {} : { userId }) };
  try {
    await api.threads.message(threadKey, parts as readonly unknown[] as InputPart[], options);
  } catch (error) {
    // it was said in an attempt before, and something else has ended since
    if (!isCode(error, 'IDEMPOTENCY_PAYLOAD_MISMATCH')) throw error;
  }
}

async function describeStatus({ api }: GitHubContext, heard: Heard): Promise<string> {
  const threadKey = threadKeyOf(heard);
  const known = await knownThread(api, threadKey);
  if (known === undefined) return 'Nothing has been asked here yet.';
  const open = await openExecutions(api, threadKey);
  const running = open.filter(({ status }) => status !== 'queued').length;
  return [
    running > 0 ? 'A turn runs.' : 'No turn runs.',
    ...(open.length > running ? [`${open.length - running} wait for it.`] : []),
    `Agent: ${known.harness ?? 'none at present'}${known.persona_id === null ? '' : `, persona ${known.persona_id}`}.`,
  ].join(' ');
}

async function describeAsker({ api, settings }: GitHubContext, heard: Heard): Promise<string> {
  const { user } = await api.chats.identify({ platform: PLATFORM, team: settings.host, externalUser: heard.author.login });
  const here = `Here you are \`${userIdOf(settings.host, heard.author.login)}\``;
  return user === null ? `${here}, which is linked to nobody.` : `${here}, and linked to a person of the platform.`;
}

function helpText(name: string): string {
  return [
    `Mention \`@${name}\` in a comment with what you want done; the answer comes here. Flags anywhere in it:`,
    '',
    '| | |',
    '|---|---|',
    '| `--claude`, `--codex`, `--pi`, `--harness <name>` | which agent, when a thread begins |',
    '| `--persona <name>` | which persona, when a thread begins |',
    '| `--model <name>`, `--effort low\\|medium\\|high\\|max` | for this turn |',
    '| `--steer`, `--queue` | tell it to the turn that runs, or wait for it |',
    '',
    `Commands: \`@${name} stop\`, \`retry\`, \`status\`, \`release\` (begin anew with the next mention), \`whoami\`, \`help\`.`,
  ].join('\n');
}
