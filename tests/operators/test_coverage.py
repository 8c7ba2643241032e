"""Every operator of ONNX and of com.microsoft has a behaviour on purpose."""

import onnx
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as native

from docs.make import BEGIN, ROOT, readme
from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators import records
from spa_cli.operators.registry import FROZEN
from spa_cli.report.operators import operators, reference

# (domain, behaviour): operators
EXPECTED = {
    ("", "approximate"): """
        GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization InstanceNormalization LayerNormalization
        LpNormalization MeanVarianceNormalization RMSNormalization ReduceMax ReduceMean ReduceMin
        SimplifiedLayerNormalization
    """,
    ("", "followed"): """
        Abs Acos Acosh Add Affine And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
        BatchNormalization Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast
        CastLike CausalConvWithState Ceil Celu CenterCropPad Clip Compress Concat ConcatFromSequence Constant
        ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh Crop CumProd CumSum DFT DeformConv DepthToSpace
        DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten
        Floor GRU Gather GatherElements GatherND Gelu Gemm Greater GreaterOrEqual GridSample HammingWindow
        HannWindow HardSigmoid HardSwish Hardmax Identity If ImageScaler IsInf IsNaN LRN LSTM LeakyRelu Less
        LessOrEqual Log LogSoftmax Loop LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean
        MelWeightMatrix Min Mish Mod Mul Neg Not OneHot Or PRelu Pad ParametricSoftplus Pow QLinearConv
        QLinearMatMul QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
        Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceProd ReduceSum ReduceSumSquare Relu
        Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round STFT Scale ScaledTanh Scan Scatter
        ScatterElements ScatterND Selu SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert
        SequenceLength Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
        Split SplitToSequence Sqrt Squeeze Sub Sum SwiGLU Swish Tan Tanh TensorScatter ThresholdedRelu Tile TopK
        Transpose Trilu Unsqueeze Upsample Where Xor
    """,
    ("", "frozen"): """
        AffineGrid BitCast Col2Im ImageDecoder LinearAttention Multinomial NegativeLogLikelihoodLoss
        NonMaxSuppression NonZero Optional OptionalGetElement OptionalHasElement RegexFullMatch SequenceMap
        SoftmaxCrossEntropyLoss StringConcat StringNormalizer StringSplit TfIdfVectorizer Unique
    """,
    ("ai.onnx.ml", "frozen"): """
        ArrayFeatureExtractor Binarizer CastMap CategoryMapper DictVectorizer FeatureVectorizer Imputer
        LabelEncoder LinearClassifier LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler
        TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor ZipMap
    """,
    ("ai.onnx.preview", "frozen"): """
        FlexAttention
    """,
    ("ai.onnx.preview.training", "frozen"): """
        Adagrad Adam Gradient Momentum
    """,
    ("com.microsoft", "approximate"): """
        EmbedLayerNormalization LayerNormalization SimplifiedLayerNormalization SkipLayerNormalization
        SkipSimplifiedLayerNormalization
    """,
    ("com.microsoft", "followed"): """
        Attention BiasAdd BiasGelu CausalConvWithState CropAndResize DequantizeLinear DynamicQuantizeLSTM
        DynamicQuantizeMatMul ExpandDims FastGelu FusedConv FusedGemm FusedMatMul GatherND Gelu GridSample
        GroupQueryAttention Inverse MatMulInteger16 MatMulIntegerToFloat MatMulNBits MaxpoolWithMask MoE
        MultiHeadAttention QAttention QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv
        QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearSoftmax QuantizeLinear
        QuickGelu Range RotaryEmbedding ScaledSiLU SwiGLU TransposeMatMul Trilu
    """,
    ("com.microsoft", "frozen"): """
        AttnLSTM BeamSearch BiasDropout BiasSoftmax BiasSplitGelu BifurcationDetector BitmaskBiasDropout
        BitmaskDropout BranchwiseRMSNorm CDist ComplexMul ComplexMulConj ConvStateReplay
        ConvTransposeWithDynamicPads DecoderAttention DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention
        DequantizeBFP DequantizeWithOrder DynamicSparseAttention DynamicTimeWarping EPContext EngramGate
        FusedMatMulActivation GatedAdd GatedDeltaNet GatedDeltaNetStateReplay GatedRMSNorm
        GatedRelativePositionBias GatherBlockQuantized GatherPacked GemmFastGelu GemmFloat8 GemmaRotaryEmbedding
        GreedySearch GroupNorm HyperConnectionLowRankMix HyperConnectionPostMix HyperConnectionPreMix Irfft
        IsAllFinite LinearAttention LinearAttentionGate LongformerAttention MRotaryEmbedding Mamba2Verify
        MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight MatMulBnb4 MatMulFpQ4 MatMulNBitsMlp
        MatMulNBitsQLoRA MatMulNBitsQkv MatMulPacked MoEGroupRouter MoEPacked MulInteger MurmurHash3
        NGramHashMapping NGramRepeatBlock NhwcConv NhwcFusedConv NhwcMaxPool PackedAttention
        PackedMultiHeadAttention PackedSparseAttentionIndexer PackedSparseAttentionIndexerMerge Pad
        PagedAttention QEmbedLayerNormalization QLinearReduceMean QLinearWhere QMoE QOrderedAttention
        QOrderedGelu QOrderedLayerNormalization QOrderedLongformerAttention QOrderedMatMul QuantizeBFP
        QuantizeWithOrder RMSNormRotary ReduceSumInteger RelativePositionBias RemovePadding RestorePadding Rfft
        RouterGateUpProj SampleOp Sampling SkipGroupNorm Snpe SparseAttention SparseAttentionIndexer
        SparsePagedAttention SparseToDenseMatMul SpeculativePrefixCommit Tokenizer TorchEmbedding UnfoldTensor
        Unique VarlenCausalConvWithState VarlenNGramHashMapping WhisperBeamSearch WordConvEmbedding
    """,
}

# later releases may have operators that this table does not know; they are frozen, as any unknown operator is
KNOWN_ONNX, KNOWN_ONNXRUNTIME = (1, 23), (1, 32)


def _release(version):
    return tuple(int(part) for part in version.split(".")[:2])


def test_every_operator_behaves_as_listed() -> None:
    expected = {(d, n): b for (d, b), names in EXPECTED.items() for n in names.split()}
    assert {key: record.behaviour for key, record in records().items()} == expected


@pytest.mark.skipif(_release(onnx.__version__) > KNOWN_ONNX, reason="onnx is newer than the table")
def test_no_operator_of_onnx_is_missing() -> None:
    schemas = {(s.domain, s.name) for s in onnx.defs.get_all_schemas_with_history()}
    assert len(schemas) > 200
    assert schemas - set(records()) == set()


@pytest.mark.skipif(_release(onnxruntime.__version__) > KNOWN_ONNXRUNTIME, reason="onnxruntime is newer than the table")
def test_no_operator_of_onnxruntime_is_missing() -> None:
    schemas = {(s.domain, s.name) for s in native.get_all_operator_schema() if s.domain == "com.microsoft"}
    assert len(schemas) > 50
    assert schemas - set(records()) == set()


def test_an_operator_that_declines_by_itself_is_called_frozen() -> None:
    declining = {key for key, record in records().items() if (record.relate.__doc__ or "").startswith("Frozen: ")}
    assert len(declining) > 100
    for domain, name in declining:
        record = records()[domain, name]
        assert record.behaviour == FROZEN
        node = Node(name, domain, "", {}, (), (), 1, onnx.NodeProto())
        with pytest.raises(Decline, match=name):
            record.relate(node, Channels.__new__(Channels))


def test_the_documentation_is_that_of_the_table() -> None:
    assert (ROOT / "docs" / "operators.md").read_text(encoding="utf-8") == reference(), "run: make docs"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert BEGIN in text
    assert readme(text) == text, "run: make docs"
    assert all(f"`{o.name}`" in reference() for o in operators())
