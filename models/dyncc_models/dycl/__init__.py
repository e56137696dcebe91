"""The nine networks on which DyCL was evaluated, at the size of their publications.

S. Chen, S. Wei, C. Liu and W. Yang, "DyCL: Dynamic Neural Network Compilation Via Program Rewriting
and Graph Optimization", ISSTA 2023. Written anew from the papers named below, without trained
weights: these are random, and gates, exits and end tokens are set so that all of them occur.

Besides the three functions that every network module offers, ``build``, ``example_inputs`` and
``coverage_inputs`` take ``small``: the same control flow with fewer channels, for quick tests.

========================  ===========================================  ===========================
Module                    Network                                      Source
========================  ===========================================  ===========================
``sdn_mobilenet``         Shallow-Deep Network on MobileNet            Kaya et al., ICML 2019
``sdn_vgg``               Shallow-Deep Network on VGG-16 with BN       Kaya et al., ICML 2019
``sdn_resnet``            Shallow-Deep Network on ResNet-56            Kaya et al., ICML 2019
``sdn_wideresnet``        Shallow-Deep Network on WideResNet-32-4      Kaya et al., ICML 2019
``skipnet``               SkipNet-38, feed-forward gates               Wang et al., ECCV 2018
``skipnet_recurrent``     SkipNet-38, recurrent gates                  Wang et al., ECCV 2018
``captioning``            LSTM caption decoder                         Vinyals et al., CVPR 2015
``captioning_attention``  LSTM caption decoder with attention          Xu et al., ICML 2015
``blockdrop``             ResNet-110 whose policy drops blocks         Wu et al., CVPR 2018
========================  ===========================================  ===========================
"""

from __future__ import annotations

NETWORKS: tuple[str, ...] = (
    "sdn_mobilenet",
    "sdn_vgg",
    "sdn_resnet",
    "sdn_wideresnet",
    "skipnet",
    "skipnet_recurrent",
    "captioning",
    "captioning_attention",
    "blockdrop",
)
"""Names of the network modules, in the order of the table above."""

__all__ = ["NETWORKS"]
