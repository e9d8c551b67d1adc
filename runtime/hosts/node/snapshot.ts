/**
 * Imports workflow files so that a changed file can be imported again.
 *
 * Node caches a module by its URL for as long as the process lives. Here a reload opens a snapshot, and every file
 * imported through it gets the snapshot's id as a query; a hook hands the query on to its relative imports, so that
 * the whole graph under the workflow directories is read anew, while packages stay the one instance they are. Old
 * snapshots keep working beside it: that is how a run keeps the code that it began with. Nothing ever leaves memory;
 * it is a matter of kilobytes per change.
 *
 * The hook also reads the sources, so that what is hashed is what runs, even when a file changes in between.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { type LoadHookContext, type ResolveHookContext, registerHooks } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export interface Snapshot {
  /** Imports a file and, once per snapshot, what it imports. */
  import(file: string): Promise<Readonly<Record<string, unknown>>>;
  /** The file and everything under the roots that it imports, directly or not. */
  graph(file: string): readonly string[];
  /** What a file of the graph contained. */
  source(file: string): string | undefined;
  /** Files in the order in which they were read. */
  files(): readonly string[];
  /** Identifies the code of a file: 16 hex digits of a hash over its graph. The same on every machine. */
  version(file: string, root: string): string;
}

export interface Snapshots {
  open(): Snapshot;
  /** Where an import failed to resolve: an error of Node's names the file, but not the line. */
  blame(error: unknown): FailedImport | undefined;
  close(): void;
}

interface FailedImport {
  readonly file: string;
  readonly specifier: string;
  readonly error: Error;
}

/** A top-level `await` may never end; the other workflows should not wait for it. */
const LONGEST_IMPORT_MS = 15_000;

const SDK = '@centaur/sdk';

/** So far in this process. */
let hosts = 0;

/** Deno strips types only from what it has read itself. */
const READS_BY_ITSELF = 'Deno' in globalThis;

/**
 * @param sdk the module that workflow files get as `@centaur/sdk`, when that is no package here
 * @param plain a file's code without types, where somebody has stripped them already
 */
export function createSnapshots(roots: readonly string[], sdk?: string, plain?: (file: string) => string | undefined): Snapshots {
  // counted, not drawn: the compile cache knows a file by its URL
  const host = ++hosts;
  const states = new Map<string, State>();
  const failedImports = new WeakMap<object, FailedImport>();
  let lastFailed: FailedImport | undefined;
  const isOurs = (file: string): boolean => roots.some((root) => file.startsWith(root + path.sep));

  function ownerOf(url: string | undefined): { state: State; file: string } | undefined {
    const [address, query] = url?.split('?') ?? [];
    const state = query === undefined ? undefined : states.get(query);
    return state && address ? { state, file: fileURLToPath(address) } : undefined;
  }

  const hooks = registerHooks({
    resolve(specifier, context: ResolveHookContext, next) {
      // Node would follow links here, and the file's siblings would be looked for beside what it links to
      if (ownerOf(specifier)) return { url: specifier, shortCircuit: true };
      const importer = ownerOf(context.parentURL);
      if (importer === undefined) return next(specifier, context);
      const { state, file } = importer;
      const target = /^\.\.?\//.test(specifier) ? path.resolve(path.dirname(file), decodeURI(specifier.replace(/[?#].*$/, ''))) : '';
      // By the path as written, not as linked: two mounts of one file are two workflows, and siblings stay siblings
      if (isOurs(target) && formatOf(target) && statSync(target, { throwIfNoEntry: false })?.isFile()) {
        state.follow(file, target);
        return { url: state.url(target), importAttributes: context.importAttributes, shortCircuit: true };
      }
      // Always the engine's own: a directory of nothing but workflow files has no node_modules, and where there is one,
      // a second copy would make `error instanceof WaitTimeoutError` false
      if (specifier === SDK) return { url: sdk ?? import.meta.resolve(SDK), shortCircuit: true };
      try {
        const found = next(specifier, context);
        if (READS_BY_ITSELF) mustExist(found.url, specifier);
        return found;
      } catch (error) {
        lastFailed = { file, specifier, error: error as Error };
        failedImports.set(lastFailed.error, lastFailed);
        throw error;
      }
    },
    load(url, context: LoadHookContext, next) {
      const owner = ownerOf(url);
      if (owner === undefined) return next(url, context);
      if (READS_BY_ITSELF) {
        owner.state.read(owner.file);
        return next(url, context);
      }
      const source = owner.state.read(owner.file);
      const stripped = plain?.(owner.file);
      if (stripped !== undefined) return { format: 'module', source: stripped, shortCircuit: true };
      return { format: formatOf(owner.file)!, source, shortCircuit: true };
    },
  });

  return {
    open() {
      const id = `centaur=${host}.${states.size + 1}`;
      const state = createState(id, isOurs);
      states.set(id, state);
      return {
        import: (file) => withinLimit(import(state.url(file))),
        graph: state.graph,
        source: (file) => state.sources.get(file),
        files: () => [...state.sources.keys()],
        version(file, root) {
          // not all who load files ask, and crypto takes as long to load as a few files
          const hash = process.getBuiltinModule('node:crypto').createHash('sha256');
          for (const each of state.graph(file).toSorted()) {
            hash.update(`${path.relative(root, each)}\0${state.read(each)}\0`);
          }
          return hash.digest('hex').slice(0, 16);
        },
      };
    },
    blame(error) {
      if (!(error instanceof Error)) return undefined;
      // Deno throws another error, which says what this one said
      return (
        failedImports.get(error) ?? (READS_BY_ITSELF && error.message.endsWith(lastFailed?.error.message ?? '\0') ? lastFailed : undefined)
      );
    },
    close: () => hooks.deregister(),
  };
}

type State = ReturnType<typeof createState>;

function createState(id: string, isOurs: (file: string) => boolean) {
  const sources = new Map<string, string>();
  const imports = new Map<string, Set<string>>();

  function follow(from: string, to: string): void {
    const known = imports.get(from) ?? new Set();
    imports.set(from, known.add(to));
  }

  function read(file: string): string {
    let source = sources.get(file);
    if (source === undefined) {
      source = readFileSync(file, 'utf8');
      sources.set(file, source);
      pinLazyImports(file, source);
    }
    return source;
  }

  /**
   * `await import('./x.ts')` inside a handler may happen days later, in a run that began with this code. So its
   * source is read now, together with what it imports, and belongs to the version. (A computed path cannot be seen.)
   */
  function pinLazyImports(file: string, source: string): void {
    for (const [, specifier = ''] of source.matchAll(/\b(?:from|import)\s*\(?\s*['"](\.\.?\/[^'"\n]+)['"]/g)) {
      const target = path.resolve(path.dirname(file), specifier);
      if (!isOurs(target) || !formatOf(target) || !statSync(target, { throwIfNoEntry: false })?.isFile()) continue;
      follow(file, target);
      read(target);
    }
  }

  function graph(file: string): readonly string[] {
    const found = new Set([file]);
    for (const each of found) for (const next of imports.get(each) ?? []) found.add(next);
    return [...found];
  }

  return { sources, follow, read, graph, url: (file: string): string => `${pathToFileURL(file).href}?${id}` };
}

/** Deno resolves what is not there too, and its error when it loads that names no place. */
function mustExist(url: string, specifier: string): void {
  if (!url.startsWith('file:') || existsSync(fileURLToPath(url))) return;
  throw Object.assign(new Error(`cannot find ${specifier}`), { code: 'ERR_MODULE_NOT_FOUND' });
}

function formatOf(file: string): string | undefined {
  if (/\.m?ts$/.test(file)) return 'module-typescript';
  if (/\.m?js$/.test(file)) return 'module';
  return file.endsWith('.json') ? 'json' : undefined;
}

async function withinLimit<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = `did not finish loading within ${LONGEST_IMPORT_MS / 1000} s; is there an await at the top level that never ends?`;
    timer = setTimeout(() => reject(new Error(message)), LONGEST_IMPORT_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
