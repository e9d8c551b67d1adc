/** Files that are written once: what somebody has already is theirs. */
import { existsSync, lstatSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { UsageError } from '../exit.ts';

/** By path below the folder that it is written to. */
export type Files = Readonly<Record<string, string>>;

/** Below another folder. */
export function below(folder: string, files: Files): Files {
  return Object.fromEntries(Object.entries(files).map(([file, text]) => [`${folder}/${file}`, text]));
}

/**
 * Writes all of them, or none when one is there.
 *
 * @param own the folder, or file, that must not be there yet: a sample goes into nobody's folder
 * @throws UsageError naming what is there
 */
export function writeNew(dir: string, own: readonly string[], files: Files): readonly string[] {
  const places = Object.keys(files).map((file) => path.join(dir, file));
  for (const place of [...own.map((each) => path.join(dir, each)), ...places]) {
    if (isThere(place)) throw new UsageError(`${shown(place)} is there already, and nothing is overwritten: choose another name, or --dir`);
  }
  for (const [i, text] of Object.values(files).entries()) {
    const place = places[i] as string;
    mkdirSync(path.dirname(place), { recursive: true });
    // should somebody have been faster, theirs stays
    writeFileSync(place, text, { flag: 'wx', mode: text.startsWith('#!') ? 0o755 : 0o644 });
  }
  return places;
}

/** Also a link to nothing. */
function isThere(place: string): boolean {
  return existsSync(place) || lstatSync(place, { throwIfNoEntry: false }) !== undefined;
}

/** As somebody types it from here. */
export function shown(place: string): string {
  const relative = path.relative('', place);
  return relative === '' ? '.' : relative.startsWith('..') ? place : relative;
}
