/** What a scenario works with: hosts of one command, and one of them that is shared, since a start takes most of the time. */
import { type Case } from './cases.ts';
import { type End, type Play, type PlayOptions, play } from './play.ts';
import { type HostCommand, type HostProcess, type Message, startHost, startHostOnSocket } from './process.ts';
import { type Story, newStory } from './story.ts';

export interface Scenario {
  readonly area: string;
  /** A sentence about behaviour. */
  readonly name: string;
  /** Only for hosts that say that they run this language. */
  readonly language?: string;
  run(lab: Lab): Promise<void>;
}

export interface Lab extends AsyncDisposable {
  readonly command: HostCommand;
  /** As the host tells it in its discovery. */
  readonly language: string;
  readonly discovery: Message;
  /** The host that scenarios share which do it no harm. */
  readonly shared: HostProcess;
  start(env?: Readonly<Record<string, string>>): HostProcess;
  startOnSocket(): Promise<HostProcess>;
}

export async function openLab(command: HostCommand): Promise<Lab> {
  const started: HostProcess[] = [];
  const start = (env?: Readonly<Record<string, string>>): HostProcess => {
    const host = startHost(command, env);
    started.push(host);
    return host;
  };
  const shared = start();
  const close = async (): Promise<void> => void (await Promise.all(started.map((host) => host.kill())));
  try {
    const discovery = await discover(shared);
    return {
      command,
      language: String(discovery.language),
      discovery,
      shared,
      start,
      async startOnSocket() {
        const host = await startHostOnSocket(command);
        started.push(host);
        return host;
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

export function discover(host: HostProcess): Promise<Message> {
  const answer = host.next(({ type }) => type === 'workflow.discovery', 'workflow.discovery');
  host.send({ type: 'workflow.discover' });
  return answer;
}

export async function ping(host: HostProcess, id: string): Promise<void> {
  const pong = host.next((message) => message.type === 'host.pong' && message.id === id, `the answer to ping ${id}`);
  host.send({ type: 'host.ping', id });
  await pong;
}

export interface Played extends Play {
  readonly ended: End;
}

export const resultOf = ({ message }: End): unknown => message?.result;

/** What `workflow.error` says of the error; nothing when the run ended otherwise. */
export const errorOf = ({ message }: End): Readonly<Record<string, unknown>> => (message?.error ?? {}) as Record<string, unknown>;

/** Plays one case of `files/` to its end. */
export async function playCase(
  host: HostProcess,
  { workflow, case: which }: Pick<Case, 'workflow' | 'case'>,
  options?: PlayOptions,
): Promise<Played> {
  return playStory(host, newStory(workflow, { case: which }), options);
}

export async function playStory(host: HostProcess, story: Story, options?: PlayOptions): Promise<Played> {
  const played = play(host, story, options);
  return { ...played, ended: await played.end };
}

/** What a run's functions said that they did, from the host's standard error; others may have left half a line there. */
export function effectsOf(host: Pick<HostProcess, 'stderr'>, { runId }: Pick<Story, 'runId'>): string[] {
  const start = `effect ${runId} `;
  return host.stderr.split('\n').flatMap((line) => {
    const at = line.indexOf(start);
    return at < 0 ? [] : [line.slice(at + start.length)];
  });
}
