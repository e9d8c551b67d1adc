/**
 * Skills and personas: instructions that an agent is given, as files that an organisation keeps.
 *
 * A skill is a folder in the open SKILL.md format; its files go into the sandbox, where the harness finds them. A persona is a prompt,
 * which may name a harness, a model, and the tools and skills that it is limited to. It promises that what is read is bounded, whoever
 * wrote it: sizes, numbers of files, what YAML can do; that nothing outside of a root is read, since no link is followed; that one
 * broken file is named with its line and stops nothing else; and that the same content has the same version.
 *
 * Read `types.ts` for the shapes, `front-matter.ts` for how a file begins, `skill.ts` and `persona.ts` for what is in one, `layer.ts`
 * for where they are in an overlay, and `inside.ts` for how skills get into a sandbox. Which overlays there are is for `overlays/`.
 */
export { placeSkills, skillFolders, versionOfAll } from './inside.ts';
export { type Layer, readLayer, readSkills, shadowed } from './layer.ts';
export { withoutGrants } from './skill.ts';
export type { Persona, PromptText, Skill, SkillFile, SkillProblem, SkillSource } from './types.ts';
