// Counts a result file of the suite by its own rules: node score.mjs RESULTS.json
import fs from 'node:fs'
import tests from './tests/index.mjs'
import { determineTestResult, resultTypes } from './test-engine/lib/results.mjs'

const results = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const words = new Map([
  [resultTypes.pass, 'passed'],
  [resultTypes.fail, 'failed'],
  [resultTypes.optional_fail, 'failed'],
  [resultTypes.yes, 'passed'],
  [resultTypes.no, 'failed'],
  [resultTypes.dependency_fail, 'dependency'],
  [resultTypes.setup_fail, 'setup'],
  [resultTypes.retry, 'setup'],
  [resultTypes.harness_fail, 'setup'],
  [resultTypes.untested, 'setup']
])
const score = {}
const lost = []
for (const suite of tests) {
  for (const test of suite.tests) {
    if (test.browser_only) continue
    const kind = test.kind ?? 'required'
    const word = words.get(determineTestResult(tests, test.id, results))
    score[kind] ??= { passed: 0, failed: 0, dependency: 0, setup: 0 }
    score[kind][word] += 1
    if (word !== 'passed' && kind !== 'check') {
      const why = Array.isArray(results[test.id]) ? results[test.id].join(': ') : (test.depends_on ?? []).join(' ')
      lost.push(`${kind} ${word} ${test.id}: ${why}`)
    }
  }
}
console.log(JSON.stringify({ score, lost }))
