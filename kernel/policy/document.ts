/** Reading YAML so that every mistake is told with its line. */
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml';
import { type Duration, toMilliseconds } from '@centaur/sdk';

export interface Problem {
  readonly line?: number;
  readonly rule?: string;
  readonly level: 'error' | 'warning';
  readonly message: string;
}

export type YamlNode = Node | null | undefined;
export type Fields<Key extends string> = Readonly<Partial<Record<Key, Node>>>;

/** Collects problems instead of throwing, so that an author sees them all. */
export class Reader {
  readonly root: YamlNode;
  readonly problems: Problem[] = [];
  /** The rule that is being read: problems name it. */
  rule: string | undefined;
  readonly #lines = new LineCounter();
  readonly #document;

  constructor(text: string) {
    this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false, version: '1.2' });
    for (const { pos, message } of [...this.#document.errors, ...this.#document.warnings])
      this.problems.push({ line: this.#lines.linePos(pos[0]).line, level: 'error', message: `not YAML: ${message}` });
    // an alias can make a small text large
    visit(this.#document, { Alias: (_, alias) => this.error(alias, 'anchors and aliases are not supported') });
    this.root = this.problems.length === 0 ? this.#document.contents : undefined;
  }

  line(node: YamlNode): number | undefined {
    const start = node?.range?.[0];
    return start === undefined ? undefined : this.#lines.linePos(start).line;
  }

  error(at: YamlNode, message: string): undefined {
    this.#add('error', this.line(at), this.rule, message);
  }

  add(level: Problem['level'], rule: { readonly id: string; readonly line: number | undefined }, message: string): void {
    this.#add(level, rule.line, rule.id, message);
  }

  #add(level: Problem['level'], line: number | undefined, rule: string | undefined, message: string): void {
    this.problems.push({ ...(line === undefined ? {} : { line }), ...(rule === undefined ? {} : { rule }), level, message });
  }

  /** The members of a map, all of which must be known. */
  fields<const Key extends string>(node: YamlNode, what: string, known: readonly Key[]): Fields<Key> | undefined {
    const members = this.members(node, what);
    if (members === undefined) return undefined;
    const found: Partial<Record<Key, Node>> = {};
    for (const { key, name, value } of members) {
      if ((known as readonly string[]).includes(name)) found[name as Key] = value ?? key;
      else this.error(key, `${what}: unknown key ${JSON.stringify(name)}; known are ${known.join(', ')}`);
      if (value === undefined) this.error(key, `${what}: ${name} has no value`);
    }
    return found;
  }

  members(node: YamlNode, what: string): { readonly key: Node; readonly name: string; readonly value: Node | undefined }[] | undefined {
    if (!isMap<Node, Node | null>(node)) return this.error(node, `${what}: expected a map`);
    return node.items.map(({ key, value }) => ({
      key,
      name: isScalar(key) ? String(key.value) : '',
      value: value === null || (isScalar(value) && value.value === null) ? undefined : value,
    }));
  }

  items(node: YamlNode, what: string): readonly Node[] {
    if (node === undefined) return [];
    if (!isSeq<Node>(node)) {
      this.error(node, `${what}: expected a list`);
      return [];
    }
    return node.items;
  }

  text(node: YamlNode, what: string, most = 1000): string | undefined {
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value === 'string' && value !== '' && value.length <= most) return value;
    return this.error(node, `${what}: expected a text of 1 to ${most} characters`);
  }

  /** A text, or a list of texts. */
  texts(node: YamlNode, what: string): readonly string[] {
    if (node === undefined) return [];
    const nodes = isSeq<Node>(node) ? node.items : [node as Node];
    if (nodes.length === 0) this.error(node, `${what}: the list is empty`);
    return nodes.map((each) => this.text(each, what, 200)).filter((text) => text !== undefined);
  }

  whole(node: YamlNode, what: string, least: number, most: number): number | undefined {
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
    return this.error(node, `${what}: expected a whole number from ${least} to ${most}`);
  }

  choice<const Choice extends string>(node: YamlNode, what: string, choices: readonly Choice[]): Choice | undefined {
    const value = isScalar(node) ? node.value : undefined;
    if (choices.includes(value as Choice)) return value as Choice;
    return this.error(node, `${what}: expected ${choices.join(', ')}`);
  }

  /** In milliseconds. */
  duration(node: YamlNode, what: string, mostMs: number): number | undefined {
    try {
      const ms = toMilliseconds((isScalar(node) ? node.value : null) as Duration, what);
      if (ms >= 1000 && ms <= mostMs) return ms;
    } catch {
      // said below, with the line
    }
    return this.error(node, `${what}: expected a duration from 1s to ${mostMs / 86_400_000}d, such as 15m or 4h`);
  }

  value(node: YamlNode): unknown {
    return isAlias(node) ? undefined : node?.toJS(this.#document);
  }
}
