/**
 * How skills get into a sandbox: their files once, below the home, and links to them where harnesses look. What an agent has put
 * there itself is left alone; it may also have broken any of it, and then it has fewer skills.
 */
import { createHash, randomBytes } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import { tarEnd, tarHeader, tarPadding } from '../sandbox/agent/tar.ts';
import { SandboxError } from '../sandbox/errors.ts';
import type { Sandbox } from '../sandbox/types.ts';
import type { Skill } from './types.ts';

/** Relative to the home. */
const FOLDER = '.centaur/skills';
/** In every workspace: the folder that the format's own site names, which most harnesses read. */
const SHARED = '.agents/skills';
const PLACE_MS = 30_000;
/** What all of a thread's skills may hold together. */
const BYTES_MOST = 32 * 1024 * 1024;

/** A name for this set of skills in this state. */
export function versionOfAll(skills: readonly Skill[]): string {
  return createHash('sha256')
    .update(JSON.stringify(skills.map(({ name, version }) => [name, version])))
    .digest('hex')
    .slice(0, 12);
}

/** Where a sandbox has them: absolute. @param own of the harness, relative to the home */
export function skillFolders({ home, workspace }: Pick<Sandbox, 'home' | 'workspace'>, own: string | undefined): string[] {
  return [...(own === undefined ? [] : [`${home}/${own}`]), `${workspace}/${SHARED}`];
}

/**
 * Those that were there before and are not among these are taken away.
 *
 * @param folders where they are linked, absolute
 * @throws SandboxError SANDBOX_LIMIT when they are too large
 */
export async function placeSkills(
  sandbox: Pick<Sandbox, 'home' | 'unpack' | 'exec'>,
  skills: readonly Skill[],
  folders: readonly string[],
): Promise<void> {
  const bytes = skills.reduce((sum, skill) => sum + skill.bytes, 0);
  if (bytes > BYTES_MOST)
    throw new SandboxError(
      'SANDBOX_LIMIT',
      `the skills of the thread have ${bytes} bytes; ${BYTES_MOST} are the most: name fewer in its persona`,
    );
  // a fresh folder each time: an agent may have changed what it was given
  const name = `${versionOfAll(skills)}-${randomBytes(4).toString('hex')}`;
  if (skills.length > 0) {
    const packed = packSkills(skills, `${FOLDER}/${name}`);
    await sandbox.unpack(packed).catch(async (error: unknown) => {
      if (!(error instanceof SandboxError) || error.code !== 'SANDBOX_FILE') throw error;
      // what an agent has put in the place of our folder
      await run(['/bin/rm', '-rf', `${sandbox.home}/${FOLDER}`]);
      await sandbox.unpack(packed);
    });
  }
  await run(['/bin/sh', '-c', LINK, 'skills', `${sandbox.home}/${FOLDER}`, name, ...folders]);

  async function run(argv: [string, ...string[]]): Promise<void> {
    const env = { PATH: '/usr/local/bin:/usr/bin:/bin' };
    const { code, stderr } = await sandbox.exec({ argv, timeoutMs: PLACE_MS, maxOutputBytes: 4096, env });
    if (code !== 0)
      throw new SandboxError('SANDBOX_START_FAILED', `the skills could not be put in their places: ${stderr.toString().trim()}`);
  }
}

/** A link into our folder is ours. The old files go last: until then every link leads somewhere. */
const LINK = `
ours=$1; new=$1/$2; shift 2
for folder; do
  for link in "$folder"/*; do
    if [ -L "$link" ]; then case $(readlink "$link") in "$ours"/*) rm -f "$link";; esac; fi
  done
  if [ -d "$new" ]; then
    mkdir -p "$folder" 2>/dev/null || continue
    for skill in "$new"/*; do
      at=$folder/\${skill##*/}
      [ -e "$at" ] || [ -L "$at" ] || ln -s "$skill" "$at" 2>/dev/null || continue
    done
  fi
done
for old in "$ours"/*; do
  [ "$old" = "$new" ] || rm -rf "$old"
done
exit 0
`;

/** As `Sandbox.unpack` takes it. @param folder relative to the home */
function packSkills(skills: readonly Skill[], folder: string): Buffer {
  const pieces: Buffer[] = [];
  for (const { name, files } of skills)
    for (const { path, data, executable } of files)
      pieces.push(
        tarHeader({ path: `${folder}/${name}/${path}`, type: 'file', mode: executable ? 0o755 : 0o644, size: data.length, target: '' }),
        data,
        tarPadding(data.length),
      );
  return zstdCompressSync(Buffer.concat([...pieces, tarEnd()]));
}
