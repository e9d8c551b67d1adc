-- What a persona was when the thread was given it: {name, sha256, prompt, harness, model, effort, tools, skills}. The thread keeps it until
-- it is released, whatever becomes of the file.
alter table agent_runtime_assignments add column persona json;
