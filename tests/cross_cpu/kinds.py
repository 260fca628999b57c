"""Operators that compute no floating-point number: they allocate, move, compare, count, or are of whole numbers.

There is nothing in them that a processor could round otherwise, so they count as portable where no sweep came to them.
"""

_NAMES = """
    _conj _conj_physical _foreach_copy_ _local_scalar_dense _neg_view _reshape_alias _reshape_copy _unsafe_view
    _unsafe_index _unsafe_masked_index _to_sparse _to_dense _coalesced_ _indices _values _nnz alias alias_copy
    as_strided as_strided_copy as_strided_scatter block_diag broadcast_tensors cat channel_shuffle clone col_indices
    constant_pad_nd contiguous copy copy_ crow_indices detach detach_ detach_copy diag_embed diagonal diagonal_copy
    diagonal_scatter expand expand_copy fill fill_ flip full full_like gather im2col index index_copy
    index_fill index_select indices indices_copy is_coalesced is_pinned lift lift_fresh lift_fresh_copy masked_fill
    masked_scatter masked_select movedim narrow narrow_copy native_channel_shuffle new_full new_ones new_zeros ones
    ones_like permute permute_copy pixel_shuffle pixel_unshuffle put reflection_pad1d reflection_pad2d
    reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape
    resolve_conj resolve_neg roll rot90 scatter select select_copy select_scatter set_ slice slice_copy slice_scatter
    split split_copy split_with_sizes split_with_sizes_copy squeeze squeeze_copy stack t t_copy take transpose
    transpose_copy tril triu unbind unbind_copy unfold unfold_copy unsafe_split unsafe_split_with_sizes unsqueeze
    unsqueeze_copy values values_copy view view_as_complex view_as_complex_copy view_as_real view_as_real_copy
    view_copy where zero zero_ zeros zeros_like
    all any allclose argmax argmin argsort bincount bitwise_and bitwise_left_shift bitwise_not bitwise_or
    bitwise_right_shift bitwise_xor bucketize count_nonzero eq equal ge gt hash_tensor is_nonzero is_same_size
    isclose isfinite isin isinf isnan isneginf isposinf isreal le logical_and logical_not logical_or logical_xor lt ne
    nonzero nonzero_numpy nonzero_static randint randint_like randperm searchsorted signbit tril_indices triu_indices
    unique_consecutive unique_dim _unique _unique2
    abs amax amin aminmax ceil clamp clamp_max clamp_min copysign cummax cummin floor fmax fmin heaviside kthvalue max
    maximum median min minimum mode nanmedian neg relu round sgn sign sort topk trunc threshold threshold_backward
    adaptive_max_pool2d adaptive_max_pool3d max_pool2d_with_indices max_pool3d_with_indices upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    _aminmax _cummax_helper _cummin_helper conj_physical unique_dim_consecutive
    empty empty_strided resize _efficientzerotensor _empty_affine_quantized _empty_per_channel_affine_quantized
    from_file _make_dep_token _stack _make_per_channel_quantized_tensor _make_per_tensor_quantized_tensor
    _nested_view_from_buffer _to_sparse_bsc _to_sparse_bsr _to_sparse_csc to_mkldnn
    _assert_async _functional_assert_async _fused_sdp_choice is_set_to _nested_tensor_from_mask_left_aligned
    _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo _nested_compute_contiguous_strides_offsets
    _validate_compressed_sparse_indices __ilshift__ __irshift__ __lshift__ __rshift__ gcd lcm _int_mm
"""
MOVING = frozenset(_NAMES.split())
"""By name without `aten::`; in-place forms count with their plain ones."""


def moves(operator: str) -> bool:
    """Whether `operator` (`aten::flip`) moves or compares data alone."""
    name = operator.removeprefix("aten::")
    return name in MOVING or name.removesuffix("_") in MOVING
