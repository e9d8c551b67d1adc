/** The sample of an overlay: one of each thing that an overlay can have. */
import { below, type Files } from './files.ts';
import { parseName, type Name } from './names.ts';
import { nodeSkill, pythonSkill } from './skill.ts';
import { nodeTool, pythonTool } from './tool.ts';
import { nodeWorkflow, pythonWorkflow } from './workflow.ts';

export function overlay({ given, snake }: Name, language: 'node' | 'python'): Files {
  const hyphens = given.replaceAll('_', '-');
  const tool = parseName(`${hyphens}-items`);
  const workflow = parseName(`${snake}_watch`);
  const skill = parseName(`${hyphens}-notes`, 'hyphens');
  const isPython = language === 'python';
  return {
    'README.md': `# ${given}

What our agents know and can do, beside what comes with the platform. A thing here takes the place of one with the same name in what comes
before.

| folder | has |
|---|---|
| \`tools/${tool.given}/\` | a tool: \`centaur tools check tools\` |
| \`workflows/\` | a workflow: \`centaur workflows check workflows\` |
| \`.agents/skills/${skill.given}/\` | a skill |
| \`personas/reviewer.md\` | a persona |
| \`SYSTEM_PROMPT.md\` | what every agent is told |

Each has its tests beside it: ${isPython ? '`python3 -m unittest` in its folder' : '`node --test` in its folder'}. All of it together is
looked at by \`CENTAUR_OVERLAYS=. centaur overlays lint --strict\`, which runs none of it and needs no server.
`,
    'SYSTEM_PROMPT.md': `Say what you did, what you looked at, and what you are not sure of.
Before you change something that others use, say what you will change and why.
`,
    'personas/reviewer.md': `---
description: Reviews changes of others, and changes nothing itself
effort: high
# the only tools that it may call; without this line, all of them
tools: [${tool.given}]
# the only skills that it gets; without this line, all of them
skills: [${skill.given}]
---

You review changes of others. Read all of a change before you say anything about it, and run its tests.

Name what is wrong with the file and line, what happens because of it, and the smallest change that mends it. Say what is good in one
sentence at most. Change nothing yourself unless you are asked to.
`,
    ...below(`tools/${tool.given}`, isPython ? pythonTool(tool) : nodeTool(tool)),
    ...below('workflows', isPython ? pythonWorkflow(workflow) : nodeWorkflow(workflow)),
    ...below(`.agents/skills/${skill.given}`, isPython ? pythonSkill(skill) : nodeSkill(skill)),
  };
}
