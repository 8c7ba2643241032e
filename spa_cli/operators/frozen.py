"""Operators whose channels stay as they are, each family with the reason it gives.

Everything such an operator touches is frozen, and no more than that.
"""

from __future__ import annotations

from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.registry import FROZEN, MICROSOFT, Relate, register

_ML = "ai.onnx.ml"


def _declines(*operators: str, domain: str = "", text: str) -> None:
    """Register operators that decline with ``text`` (``{op}`` is the operator's name)."""

    def relate(node: Node, state: Channels) -> None:
        raise Decline(text.format(op=f"{domain}::{node.op}" if domain else node.op))

    relate.__doc__ = f"Frozen: {text}."
    rule: Relate = relate
    register(*operators, domain=domain, behaviour=FROZEN)(rule)


_declines(
    "SequenceMap Optional OptionalGetElement OptionalHasElement",
    text="what {op} holds is not followed",
)
_declines(
    "RegexFullMatch StringConcat StringSplit TfIdfVectorizer ImageDecoder",
    text="{op} works on strings or files, not on channels",
)
_declines(
    "NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss Multinomial AffineGrid BitCast Col2Im",
    text="{op} mixes or counts the channels it reads",
)
_declines("LinearAttention", text="the state that {op} keeps per head is not followed")

_declines(
    "QMoE QEmbedLayerNormalization QOrderedAttention QOrderedGelu QOrderedLayerNormalization QOrderedMatMul",
    "QOrderedLongformerAttention QuantizeBFP DequantizeBFP QuantizeWithOrder DequantizeWithOrder QLinearReduceMean",
    "QLinearWhere MulInteger ReduceSumInteger NhwcMaxPool",
    domain=MICROSOFT,
    text="the quantised operator {op} is not followed",
)
_declines(
    "MatMulBnb4 MatMulFpQ4 MatMulNBitsMlp MatMulNBitsQLoRA MatMulNBitsQkv MatMulBlockQuantizedFp4Weight",
    "MatMulBlockQuantizedFp8Weight MatMulPacked GatherBlockQuantized GemmFloat8 MoEPacked",
    domain=MICROSOFT,
    text="the weight of {op} is packed in a way that can't be cut",
)
_declines(
    "DecoderAttention DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention LongformerAttention PackedAttention",
    "PackedMultiHeadAttention PagedAttention SparseAttention SparsePagedAttention DynamicSparseAttention",
    "SparseAttentionIndexer PackedSparseAttentionIndexer PackedSparseAttentionIndexerMerge LinearAttention",
    "LinearAttentionGate GatedRelativePositionBias RelativePositionBias RemovePadding RestorePadding",
    "GemmaRotaryEmbedding MRotaryEmbedding RMSNormRotary",
    domain=MICROSOFT,
    text="the attention operator {op} is not followed",
)
_declines(
    "AttnLSTM GatedDeltaNet GatedDeltaNetStateReplay ConvStateReplay Mamba2Verify SpeculativePrefixCommit",
    "VarlenCausalConvWithState",
    domain=MICROSOFT,
    text="the state that {op} keeps is not followed",
)
_declines(
    "BeamSearch GreedySearch Sampling WhisperBeamSearch EPContext Snpe",
    domain=MICROSOFT,
    text="the model inside {op} is not followed",
)
_declines(
    "GroupNorm SkipGroupNorm NhwcConv NhwcFusedConv BiasSoftmax BiasSplitGelu BiasDropout BitmaskDropout",
    "BitmaskBiasDropout FusedMatMulActivation GemmFastGelu ConvTransposeWithDynamicPads Pad TorchEmbedding",
    "WordConvEmbedding SparseToDenseMatMul BranchwiseRMSNorm GatedRMSNorm GatedAdd EngramGate HyperConnectionPreMix",
    "HyperConnectionPostMix HyperConnectionLowRankMix MoEGroupRouter RouterGateUpProj GatherPacked",
    domain=MICROSOFT,
    text="the fused operator {op} is not followed",
)
_declines(
    "CDist ComplexMul ComplexMulConj Irfft Rfft UnfoldTensor DynamicTimeWarping BifurcationDetector NGramRepeatBlock",
    "NGramHashMapping VarlenNGramHashMapping MurmurHash3 Tokenizer IsAllFinite SampleOp",
    domain=MICROSOFT,
    text="{op} mixes or counts the channels it reads",
)
_declines(
    "ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer LabelEncoder",
    "LinearClassifier LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble",
    "TreeEnsembleClassifier TreeEnsembleRegressor ZipMap",
    domain=_ML,
    text="{op} keeps its parameters in attributes, per feature",
)
_declines("FlexAttention", domain="ai.onnx.preview", text="the attention operator {op} is not followed")
_declines(
    "Adagrad Adam Gradient Momentum",
    domain="ai.onnx.preview.training",
    text="{op} trains a network",
)
