// `libra doctor`: what this machine and this platform offer and lack, each with the next step.

import { isFailure } from '../../lib/failure.ts';
import type { Command } from '../command.ts';
import { counted } from '../output.ts';
import type { Finding } from '../local-platform.ts';

export const doctor: Command = {
  summary: 'Examine this machine and the platform, and say what to do about what is wrong.',
  example: 'libra doctor',
  scope: 'platform',
  run: async (_input, context) => {
    const { output, local } = context;
    const findings: Finding[] = [...(await local.examine())];
    try {
      const status = await (await context.client()).system.status();
      findings.push({
        name: 'platform',
        ok: true,
        message: `version ${status.version} answers; ${counted(status.counts.apps, 'App')}, ${counted(status.counts.instances, 'Instance')}`,
        hint: null,
      });
      for (const warning of status.warnings) findings.push({ name: 'platform', ok: false, message: warning, hint: null });
      for (const loop of status.reconcilers) {
        if (loop.lastError !== null)
          findings.push({ name: `reconciler ${loop.name}`, ok: false, message: loop.lastError, hint: 'The log of librad has the cause.' });
      }
    } catch (error) {
      if (!isFailure(error)) throw error;
      findings.push({ name: 'platform', ok: false, message: error.message, hint: error.hint ?? null });
    }
    for (const finding of findings) {
      output.line(`${finding.ok ? output.style('green', 'ok  ') : output.style('yellow', 'look')}  ${finding.name}: ${finding.message}`);
      if (finding.hint !== null && !finding.ok) output.line(`      ${output.style('dim', finding.hint)}`);
    }
    output.value({ findings });
    return findings.every((finding) => finding.ok) ? 0 : 1;
  },
};
