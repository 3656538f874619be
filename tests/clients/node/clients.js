// The npm clients of Ollama and OpenAI against a running server: node clients.js URL MODEL
import assert from 'node:assert/strict'
import { Ollama } from 'ollama'
import OpenAI from 'openai'

const [url, model] = process.argv.slice(2)
const messages = [{ role: 'user', content: 'Say hello.' }]

const native = new Ollama({ host: url })
const answer = await native.chat({ model, messages, options: { num_predict: 12 } })
assert.ok(answer.message.content)
let text = ''
for await (const part of await native.chat({ model, messages, stream: true, options: { num_predict: 12 } })) {
  text += part.message.content
}
assert.ok(text)
assert.equal((await native.embed({ model, input: ['a', 'b'] })).embeddings.length, 2)
assert.ok((await native.list()).models.some((entry) => entry.model === model))
await assert.rejects(native.chat({ model: 'nobody', messages }), /not found/)

const gpt = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
const whole = await gpt.chat.completions.create({ model, messages, max_tokens: 12 })
assert.ok(whole.choices[0].message.content)
text = ''
for await (const chunk of await gpt.chat.completions.create({ model, messages, max_tokens: 12, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? ''
}
assert.ok(text)
const response = await gpt.responses.create({ model, input: 'Say hello.', max_output_tokens: 12 })
assert.ok(response.output_text)
assert.equal((await gpt.embeddings.create({ model, input: ['a', 'b'] })).data.length, 2)
await assert.rejects(gpt.chat.completions.create({ model: 'nobody', messages }), (error) => error.status === 404)
console.log('npm clients: ok')
