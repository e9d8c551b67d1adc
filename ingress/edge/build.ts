/**
 * `node ingress/edge/build.ts [worker|deno|node]`: prints an entry and all that it imports as one file of JavaScript.
 *
 * Each module becomes a function that is called once and returns what it exports, so that names of two modules cannot
 * meet. That is all the bundling these few files need: they import nothing but each other and, for Node, `node:` modules.
 */
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, '../..');

const IMPORT = /^import\s+(?:\{([^}]*)\}\s+from\s+)?'([^']+)';?[ \t]*$/gm;
const EXPORT = /^export\s+(?:async\s+)?(?:function|const|class)\s+(\w+)/gm;

if (import.meta.main) process.stdout.write(buildEdge(process.argv[2] ?? 'worker'));

export function buildEdge(entry: string): string {
  const modules = new Map<string, string>();
  const external = new Set<string>();
  const main = emit(join(HERE, `${entry}.ts`), modules, external);
  const last = main.exports.includes('default') ? [`export default ${main.variable}.default;`] : [];
  return ['// Made by ingress/edge/build.ts', ...external, ...modules.values(), ...last, ''].join('\n');
}

interface Emitted {
  readonly variable: string;
  readonly exports: readonly string[];
}

/** A module after those that it imports. Node strips the types, and with them the comments. */
function emit(file: string, modules: Map<string, string>, external: Set<string>): Emitted {
  const variable = relative(ROOT, file).replace(/\.ts$/, '').replaceAll(/\W/g, '_');
  const source = stripTypeScriptTypes(readFileSync(file, 'utf8'), { mode: 'transform' });
  const exports = [...source.matchAll(EXPORT)].map(([, name]) => name ?? '');
  if (/^export default /m.test(source)) exports.push('default');
  if (modules.has(variable)) return { variable, exports };
  const code = source
    .replaceAll(IMPORT, (line, names: string | undefined, specifier: string) => {
      if (!specifier.startsWith('.')) return (external.add(line.trim()), '');
      const imported = emit(join(dirname(file), specifier), modules, external);
      const wanted = (names ?? '').replaceAll(/\s+/g, ' ').trim().replaceAll(/ as /g, ': ');
      return wanted.replaceAll(',', '').trim() === '' ? '' : `const { ${wanted} } = ${imported.variable};`;
    })
    .replaceAll(/^export default /gm, 'const exported = ')
    .replaceAll(/^export (?=(?:async )?(?:function|const|class) )/gm, '');
  const left = /^\s*(?:import|export)\b.*$/m.exec(code)?.[0];
  if (left !== undefined) throw new Error(`${relative(ROOT, file)}: build.ts cannot read ${JSON.stringify(left.trim())}`);
  const members = exports.map((name) => (name === 'default' ? 'default: exported' : name)).join(', ');
  modules.set(variable, `const ${variable} = (() => {\n${code.trim()}\nreturn { ${members} };\n})();`);
  return { variable, exports };
}
