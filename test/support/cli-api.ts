/** The real `centaur` binary against an API in this process, with the keys of an installation. */
import { ADMIN, startTestApi, type TestApi } from './api.ts';
import { createPlace, type Finished, type Place } from './cli.ts';

export interface CommandPlace extends AsyncDisposable {
  readonly api: TestApi;
  readonly place: Place;
  /** Runs a command. */
  centaur(
    args: readonly string[],
    options?: { readonly stdin?: string; readonly env?: Readonly<Record<string, string>> },
  ): Promise<Finished>;
  /** Runs it with --json, and reads what it prints. @throws Error when it fails */
  read(...args: string[]): Promise<any>; // oxlint-disable-line typescript/no-explicit-any -- answers of many shapes
}

export async function startCommandPlace(): Promise<CommandPlace> {
  const api = await startTestApi({ idle: true, vault: 'with a firewall' });
  const place = createPlace({ CENTAUR_API_URL: api.url, CENTAUR_API_KEY: ADMIN });
  return {
    api,
    place,
    centaur: (args, options) => place.run(args, options),
    async read(...args) {
      const { code, stdout, stderr } = await place.run([...args, '--json']);
      if (code !== 0) throw new Error(`centaur ${args.join(' ')} ended with ${code}: ${stderr}`);
      return JSON.parse(stdout) as unknown;
    },
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]();
      await api[Symbol.asyncDispose]();
    },
  };
}
